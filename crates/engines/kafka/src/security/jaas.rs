//! The options of a login module, as `sasl.jaas.config` has them:
//! `org.apache.kafka.common.security.plain.PlainLoginModule required user_alice="secret";`

use std::collections::BTreeMap;
use std::iter::Peekable;
use std::str::Chars;

/// A login module with its options.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LoginModule {
    pub name: String,
    pub options: BTreeMap<String, String>,
}

/// Reads exactly one login module. The error is Kafka's sentence.
pub(super) fn parse(text: &str) -> Result<LoginModule, String> {
    let mut tokens = Tokens { characters: text.chars().peekable() };
    let name = tokens.next()?.ok_or("Login module not specified in JAAS config")?;
    let flag = tokens.next()?.ok_or("Control flag is not available in the JAAS config")?;
    if !["required", "requisite", "sufficient", "optional"].contains(&flag.to_lowercase().as_str()) {
        return Err(format!("Login module control flag '{flag}' is not valid"));
    }
    let mut options = BTreeMap::new();
    loop {
        let key = tokens.next()?.ok_or("JAAS config entry not terminated by semi-colon")?;
        if key == ";" {
            break;
        }
        let equals = tokens.next()?;
        let value = tokens.next()?;
        match (equals.as_deref(), value) {
            (Some("="), Some(value)) if value != ";" => drop(options.insert(key, value)),
            _ => return Err(format!("Value not specified for key '{key}' in JAAS config")),
        }
    }
    match tokens.next()? {
        None => Ok(LoginModule { name, options }),
        Some(_) => Err("JAAS config property contains more than one login module, should be 1 module".to_owned()),
    }
}

/// Words, quoted strings, `=` and `;`.
struct Tokens<'t> {
    characters: Peekable<Chars<'t>>,
}

impl Tokens<'_> {
    fn next(&mut self) -> Result<Option<String>, String> {
        while self.characters.next_if(|character| character.is_whitespace()).is_some() {}
        match self.characters.next() {
            None => Ok(None),
            Some(mark @ (';' | '=')) => Ok(Some(mark.to_string())),
            Some(quote @ ('"' | '\'')) => self.quoted(quote).map(Some),
            Some(first) => {
                let mut word = String::from(first);
                let is_word = |character: &char| !character.is_whitespace() && !";=\"'".contains(*character);
                while let Some(character) = self.characters.next_if(is_word) {
                    word.push(character);
                }
                Ok(Some(word))
            }
        }
    }

    fn quoted(&mut self, quote: char) -> Result<String, String> {
        let mut text = String::new();
        while let Some(character) = self.characters.next() {
            match character {
                _ if character == quote => return Ok(text),
                '\\' => text.extend(self.characters.next()),
                _ => text.push(character),
            }
        }
        Err("A quoted value in the JAAS config does not end".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn a_login_module_has_a_name_a_flag_and_options() {
        let read = parse("a.b.PlainLoginModule required\n username=\"admin\" user_bob='it\\'s; =' ;").unwrap();
        assert_eq!(read.name, "a.b.PlainLoginModule");
        assert_eq!(read.options["username"], "admin");
        assert_eq!(read.options["user_bob"], "it's; =");
    }

    #[test]
    fn what_is_no_login_module_is_refused_with_a_reason() {
        let refused = |text: &str| parse(text).unwrap_err();
        assert_eq!(refused(""), "Login module not specified in JAAS config");
        assert_eq!(refused("a.B"), "Control flag is not available in the JAAS config");
        assert_eq!(refused("a.B often;"), "Login module control flag 'often' is not valid");
        assert_eq!(refused("a.B required x=\"y\""), "JAAS config entry not terminated by semi-colon");
        assert_eq!(refused("a.B required x;"), "Value not specified for key 'x' in JAAS config");
        assert!(refused("a.B required; c.D required;").contains("more than one"));
        assert!(refused("a.B required x=\"y").contains("does not end"));
    }
}
