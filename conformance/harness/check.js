// For suites that are written for Node: `const { check, equal, finish } = require("../harness/check.js")("CLIENT")`.
"use strict";

module.exports = function checks(client) {
  let failures = 0;

  async function check(name, body) {
    try {
      await body();
      console.log(`ok ${client}: ${name}`);
    } catch (error) {
      failures += 1;
      console.log(`not ok ${client}: ${name} # ${String(error.message || error).split("\n")[0]}`);
    }
  }

  function equal(seen, wanted) {
    const [left, right] = [JSON.stringify(seen), JSON.stringify(wanted)];
    if (left !== right) throw new Error(`saw ${left}, wanted ${right}`);
  }

  // Runs all checks, and ends the process as they have gone.
  function finish(main) {
    main().then(
      () => process.exit(failures ? 1 : 0),
      (error) => {
        console.log(`not ok ${client}: the program ends # ${error.message}`);
        process.exit(1);
      },
    );
  }

  return { check, equal, finish };
};
