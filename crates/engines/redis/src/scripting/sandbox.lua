-- What scripts see as their globals. Stock Lua has no read-only tables, so each table that all scripts share is an
-- empty one in front of the real one: reading goes through, writing is refused, and the functions that would go around
-- metatables know these tables.
local native, limits = ...

local error, type, select, next, pairs, ipairs = error, type, select, next, pairs, ipairs
local rawget, rawset, rawequal, setmetatable, getmetatable = rawget, rawset, rawequal, setmetatable, getmetatable
local pcall, xpcall, loadstring, concat, byte = pcall, xpcall, loadstring, table.concat, string.byte
local READONLY = "Attempt to modify a readonly table"

local backing = {}
local metatables = {}

local function refuse()
    error(READONLY, 2)
end

local function seal(real, index)
    local front = {}
    backing[front] = real
    return setmetatable(front, { __index = index or real, __newindex = refuse })
end

local globals = {}
local env = seal(globals)

-- Errors -------------------------------------------------------------------------------------------------------------

-- An error is a table for whoever asks with redis.pcall, and a string for whoever uses pcall.
local function caught(ok, ...)
    if ok then
        return true, ...
    end
    local failure = ...
    if type(failure) == "table" then
        local text = rawget(failure, "err")
        if type(text) == "string" then
            return false, text
        end
    elseif type(failure) == "userdata" then
        return false, native.describe(failure)
    end
    return false, ...
end

-- Basic functions ----------------------------------------------------------------------------------------------------

for _, name in ipairs {
    "assert", "collectgarbage", "error", "gcinfo", "ipairs", "rawequal", "select", "tonumber", "tostring", "type",
    "xpcall", "_VERSION",
} do
    globals[name] = _G[name]
end

local unpack = unpack

function globals.unpack(...)
    local list, first, last = ...
    if type(list) == "table" and first == nil and last == nil and #list <= limits.results + 2 then
        return unpack(list)
    end
    return unpack(native.unpacked(...))
end

globals._G = env

function globals.pcall(...)
    return caught(pcall(...))
end

function globals.getmetatable(...)
    local value = ...
    if type(value) == "string" then
        return metatables.string
    end
    if value ~= nil and backing[value] then
        return metatables[value]
    end
    return getmetatable(...)
end

function globals.setmetatable(...)
    local value = ...
    if value ~= nil and backing[value] then
        error(READONLY, 0)
    end
    return setmetatable(...)
end

function globals.rawset(...)
    local value = ...
    if value ~= nil and backing[value] then
        error(READONLY, 0)
    end
    return rawset(...)
end

function globals.rawget(value, ...)
    return rawget(value ~= nil and backing[value] or value, ...)
end

function globals.next(value, ...)
    return next(value ~= nil and backing[value] or value, ...)
end

function globals.pairs(value, ...)
    local real = value ~= nil and backing[value]
    if real then
        return next, real, nil
    end
    return pairs(value, ...)
end

-- Bytecode could make the interpreter do anything.
function globals.loadstring(text, ...)
    if type(text) == "string" and byte(text, 1) == 27 then
        return nil, "bytecode cannot be loaded"
    end
    return loadstring(text, ...)
end

function globals.load(reader, name)
    if type(reader) ~= "function" then
        error("bad argument #1 to 'load' (function expected, got " .. type(reader) .. ")", 2)
    end
    local parts = {}
    while true do
        local part = reader()
        if part == nil or part == "" then
            break
        end
        if type(part) ~= "string" then
            return nil, "reader function must return a string"
        end
        parts[#parts + 1] = part
    end
    return globals.loadstring(concat(parts), name or "=(load)")
end

-- Libraries ----------------------------------------------------------------------------------------------------------

local function copy(library, without)
    local result = {}
    for name, value in pairs(library) do
        if not (without and without[name]) then
            result[name] = value
        end
    end
    return result
end

local strings = copy(string)
for _, name in ipairs { "find", "gmatch", "gfind", "gsub", "match" } do
    local original = string[name]
    -- The matcher recurses for each item of a pattern, on a stack that is not endless.
    strings[name] = function(subject, pattern, ...)
        if type(pattern) == "string" and #pattern > limits.pattern then
            error("pattern too complex", 2)
        end
        return original(subject, pattern, ...)
    end
end
strings.rep = native.rep

local tables = copy(table)
for _, name in ipairs { "insert", "remove", "sort", "setn" } do
    local original = table[name]
    tables[name] = function(...)
        local value = ...
        if value ~= nil and backing[value] then
            error(READONLY, 0)
        end
        return original(...)
    end
end
for _, name in ipairs { "foreach", "foreachi" } do
    local original = table[name]
    tables[name] = function(value, ...)
        return original(value ~= nil and backing[value] or value, ...)
    end
end

local maths = copy(math)
maths.random, maths.randomseed = native.math.random, native.math.randomseed

-- Each coroutine of Lua 5.1 counts its C calls anew, so how deep they nest is counted here.
local coroutines = copy(coroutine)
local depth = { 0 }
local create, resume = coroutine.create, coroutine.resume

local function left(...)
    depth[1] = depth[1] - 1
    return ...
end

function coroutines.resume(...)
    if depth[1] >= limits.coroutines then
        return false, "C stack overflow"
    end
    depth[1] = depth[1] + 1
    return left(caught(resume(...)))
end

local function pass(ok, ...)
    if ok then
        return ...
    end
    error((...), 0)
end

function coroutines.wrap(body)
    local thread = create(body)
    return function(...)
        return pass(coroutines.resume(thread, ...))
    end
end

for name, library in pairs {
    bit = native.bit, cjson = native.cjson, cmsgpack = native.cmsgpack,
    coroutine = coroutines, math = maths, redis = native.redis, string = strings, struct = native.struct,
    table = tables,
} do
    globals[name] = seal(library)
end

-- A name that is not there is an error and not nil.
local function nonexistent(_, name)
    error("Script attempted to access nonexistent global variable '" .. globals.tostring(name) .. "'", 2)
end
setmetatable(globals, { __index = nonexistent })
metatables[env] = seal({ __index = getmetatable(globals).__index })
metatables.string = seal({ __index = globals.string })
getmetatable("").__index = strings

-- While a library is loaded, it sees nothing but what registers its functions.
local library = { register_function = native.register_function }
for _, name in ipairs {
    "log", "LOG_DEBUG", "LOG_VERBOSE", "LOG_NOTICE", "LOG_WARNING", "REDIS_VERSION", "REDIS_VERSION_NUM",
} do
    library[name] = native.redis[name]
end
setmetatable(library, { __index = nonexistent })
local loadable = setmetatable({ redis = seal(library) }, { __index = nonexistent })

-- The code of a library.
local function run(body)
    depth[1] = 0
    return xpcall(body, native.failed)
end

return env, globals, { shown = getmetatable(env), globals = globals, loadable = loadable }, depth, run
