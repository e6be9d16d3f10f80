#!/usr/bin/env python3
"""Sends the same commands to Debian's redis-server and to the target, and says where their replies differ.

As a program of its suite it starts the real server itself. By hand: `dual.py HOST:PORT HOST:PORT`, real Redis first. Both are
emptied. Every line of the scripts is a check; the random commands are checks by the hundred.
"""

import os
import random
import re
import socket
import sys
from contextlib import ExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from harness import check, real_redis  # noqa: E402  (the path must be there first)


class Connection:
    """A connection that understands just enough RESP."""

    def __init__(self, address):
        host, port = address.rsplit(":", 1)
        self.socket = socket.create_connection((host, int(port)), timeout=5)
        self.file = self.socket.makefile("rb")

    def send(self, arguments):
        parts = [b"*%d\r\n" % len(arguments)]
        for argument in arguments:
            argument = argument if isinstance(argument, bytes) else str(argument).encode()
            parts.append(b"$%d\r\n%s\r\n" % (len(argument), argument))
        self.socket.sendall(b"".join(parts))

    def call_all(self, commands):
        """Many commands at once."""
        for command in commands:
            self.send(command)
        return [self.read() for _ in commands]

    def read(self):
        line = self.file.readline()
        if not line:
            return "<closed>"
        kind, rest = line[:1], line[1:-2]
        if kind in b"+-:,_#(":
            return (kind + rest).decode("utf-8", "replace")
        if kind in b"$=":
            length = int(rest)
            return None if length < 0 else self.file.read(length + 2)[:-2]
        if kind in b"*~>":
            length = int(rest)
            return None if length < 0 else [self.read() for _ in range(length)]
        if kind == b"%":
            return {"map": [[self.read(), self.read()] for _ in range(int(rest))]}
        return line

    def call(self, *arguments):
        self.send(arguments)
        return self.read()


# A line is one command; words are separated by spaces, "quotes" as usual with \x escapes. `~` before a command: the order
# of the reply's elements does not matter. `?`: only the kind of the reply matters. `2`: on a second connection.
SCRIPT = r"""
PING
PING hello
PING a b
ECHO hi
FOO bar baz
GET
get
SET a
SET a 1
GET a
SET a 2 NX
SET a 2 XX
SET a 3 GET
SET b 3 GET
SET a 3 NX GET
SET a 3 NX XX
SET a 3 EX 0
SET a 3 EX -1
SET a 3 EX x
SET a 3 EX 10 PX 10
SET a 3 EX 100
TTL a
SET a 4 KEEPTTL
TTL a
SET a 4
TTL a
SET a 5 PXAT 1
GET a
SET a 5 EX 9223372036854775807
SETEX a 0 x
SETEX a 10 x
PSETEX a -1 x
PSETEX a 100000 y
SETNX a z
SETNX newkey z
GETSET a b
GETSET nokey b
GETDEL a
GETDEL a
GETEX nokey2
SET k v
GETEX k EX 100
TTL k
GETEX k PERSIST
TTL k
GETEX k EX
GETEX k FOO 1
GETEX k EX 0
MSET a 1 b 2 c
MSET a 1 b 2
MGET a b nokey9
MSETNX a 1 z 2
MSETNX y 1 z 2
INCR a
INCR nokey3
SET s abc
INCR s
SET big 9223372036854775807
INCR big
DECR big
DECRBY a 5
DECRBY a -9223372036854775808
INCRBY a 10
INCRBY a x
INCRBYFLOAT a 0.1
INCRBYFLOAT s 1
INCRBYFLOAT a abc
INCRBYFLOAT f 0.1
INCRBYFLOAT f 0.2
INCRBYFLOAT f -0.3
INCRBYFLOAT f inf
SET f2 3.0e3
INCRBYFLOAT f2 200
APPEND s def
APPEND nokey4 x
STRLEN s
STRLEN nokey5
GETRANGE s 0 2
GETRANGE s -3 -1
GETRANGE s 0 -1
GETRANGE s 5 1
GETRANGE s -1 -5
GETRANGE s 0 -100
GETRANGE s 10 20
GETRANGE s -100 1
SETRANGE s 2 ZZ
GET s
SETRANGE nokey6 5 x
GET nokey6
SETRANGE s -1 x
SETRANGE s 536870912 x
SETRANGE nokey7 0 ""
EXISTS nokey7
OBJECT ENCODING a
OBJECT ENCODING s
SET e1 12345
OBJECT ENCODING e1
SET e2 "hello world hello world hello world hello wo"
OBJECT ENCODING e2
SET e3 "hello world hello world hello world hello wor"
OBJECT ENCODING e3
OBJECT ENCODING nokey8
OBJECT FOO a
OBJECT FREQ a
OBJECT REFCOUNT s
OBJECT REFCOUNT e1
OBJECT HELP
SUBSTR s 0 1
LPUSH l a b c
RPUSH l d
LRANGE l 0 -1
LRANGE l 1 1
LRANGE l 5 10
LRANGE l -2 -1
LRANGE s 0 -1
LLEN l
LLEN s
LLEN nokey
LINDEX l 0
LINDEX l -1
LINDEX l 10
LINDEX l x
LSET l 0 z
LSET l 10 z
LSET nokey 0 z
LINSERT l BEFORE z y
LINSERT l AFTER z x
LINSERT l AFTER nope x
LINSERT l FOO z x
LINSERT nokey BEFORE a b
LRANGE l 0 -1
LREM l 0 nope
RPUSH l q q q
LREM l -1 q
LREM l 1 q
LRANGE l 0 -1
LTRIM l 1 3
LRANGE l 0 -1
LPUSHX nokey a
RPUSHX l a b
LPOP l
RPOP l
LPOP l 2
LPOP l -1
LPOP l x
LPOP nokey
LPOP nokey 2
LPOP l 0
RPOP l 100
EXISTS l
RPUSH p a b c 1 2 3 c c
LPOS p c
LPOS p c RANK 2
LPOS p c RANK -1
LPOS p c COUNT 2
LPOS p c COUNT 0
LPOS p c COUNT 0 MAXLEN 3
LPOS p x
LPOS p x COUNT 1
LPOS p c RANK 0
LPOS p c COUNT -1
LPOS p c MAXLEN -1
LPOS p c FOO 1
LMOVE p p2 LEFT RIGHT
LMOVE p p2 FOO RIGHT
LMOVE nokey p2 LEFT LEFT
RPOPLPUSH p p2
RPOPLPUSH p p
LRANGE p 0 -1
LRANGE p2 0 -1
LMPOP 1 p LEFT
LMPOP 2 nokey p RIGHT COUNT 2
LMPOP 0 p LEFT
LMPOP 1 p FOO
LMPOP 1 nokey LEFT
LMPOP 1 p LEFT COUNT 0
BLPOP p 0
BLPOP nokey p 1
BLPOP nokey x
BLPOP nokey -1
BLPOP nokey 0.05
BRPOP nokey 0.05
BLMOVE nokey p LEFT LEFT 0.05
BRPOPLPUSH nokey p 0.05
BLMPOP 0.05 1 nokey LEFT
BLMPOP 0.05 1 p LEFT
HSET h a 1 b 2
HSET h a 1 b
HSET s a 1
HGET h a
HGET h nope
HGET nokey a
HMGET h a nope b
HMSET h c 3
HGETALL h
HGETALL nokey
HKEYS h
HVALS h
HLEN h
HSTRLEN h a
HEXISTS h a
HEXISTS h nope
HDEL h a nope
HDEL nokey a
HSETNX h a 5
HSETNX h a 6
HINCRBY h a 5
HINCRBY h c x
HSET h t text
HINCRBY h t 1
HINCRBYFLOAT h a 0.1
HINCRBYFLOAT h t 1
HINCRBYFLOAT h a x
HRANDFIELD nokey
HRANDFIELD nokey 5
HRANDFIELD h 0
~HRANDFIELD h 10
HRANDFIELD h 1 FOO
HSCAN h 0
HSCAN h 0 MATCH a*
HSCAN nokey 0
HSCAN h x
HSCAN h 0 COUNT 0
HSCAN h 0 FOO
OBJECT ENCODING h
HSET h long "0123456789012345678901234567890123456789012345678901234567890123456789"
OBJECT ENCODING h
HGET h long
SADD st 1 2 3
SADD st 3
OBJECT ENCODING st
SADD st a
~SMEMBERS st
SISMEMBER st a
SISMEMBER st b
SMISMEMBER st a b 1
SCARD st
SCARD nokey
SREM st a b
SREM nokey a
SMOVE st st2 1
SMOVE st st2 99
SMOVE st st 2
~SMEMBERS st2
SADD s1 a b c d
SADD s2 c d e
~SINTER s1 s2
~SUNION s1 s2
~SDIFF s1 s2
SINTER s1 nokey
SINTER s1 l h
SINTERCARD 2 s1 s2
SINTERCARD 2 s1 s2 LIMIT 1
SINTERCARD 0 s1
SINTERCARD 5 s1
SINTERCARD 1 s1 LIMIT -1
SINTERSTORE s3 s1 s2
SUNIONSTORE s3 s1 s2
SDIFFSTORE s3 s1 s2
~SMEMBERS s3
SDIFFSTORE s3 nokey
EXISTS s3
SPOP nokey
SPOP nokey 3
SPOP s1 -1
~SPOP s1 10
EXISTS s1
SRANDMEMBER nokey
SRANDMEMBER nokey 2
SRANDMEMBER s2 0
~SRANDMEMBER s2 10
SSCAN nokey 0
~SSCAN s2 0
SADD s4 x
SPOP s4
EXISTS s4
ZADD z 1 a 2 b 3 c
ZADD z 1 a
ZADD z XX 5 a
ZADD z NX 5 a
ZADD z GT 1 a
ZADD z LT CH 1 a
ZADD z CH 2 a 9 d
ZADD z INCR 1 a
ZADD z NX INCR 1 a
ZADD z NX XX 1 a
ZADD z GT LT 1 a
ZADD z 1
ZADD z x a
ZADD z nan a
ZADD z INCR 1 a 2 b
ZADD zeros INCR -0 a
ZADD zeros INCR 0 a
ZRANGE z 0 -1
ZRANGE z 0 -1 WITHSCORES
ZRANGE z 0 -1 REV WITHSCORES
ZRANGE z 1 2 BYSCORE
ZRANGE z (1 +inf BYSCORE LIMIT 0 1
ZRANGE z 3 1 BYSCORE REV
ZRANGE z - + BYLEX
ZRANGE z [a (c BYLEX
ZRANGE z 0 -1 LIMIT 0 1
ZRANGE z - + BYLEX WITHSCORES
ZRANGE z x y
ZRANGE z x y BYSCORE
ZRANGE z x y BYLEX
ZRANGE nokey 0 -1
ZRANGE s 0 -1
ZREVRANGE z 0 1 WITHSCORES
ZRANGEBYSCORE z -inf +inf WITHSCORES LIMIT 1 2
ZRANGEBYSCORE z (3 9
ZREVRANGEBYSCORE z +inf -inf
ZRANGEBYLEX z - [c
ZREVRANGEBYLEX z + -
ZSCORE z a
ZSCORE z nope
ZMSCORE z a nope
ZRANK z c
ZRANK z nope
ZREVRANK z c
ZCARD z
ZCOUNT z 1 5
ZCOUNT z (1 (5
ZCOUNT z x 5
ZLEXCOUNT z - +
ZINCRBY z 1.5 a
ZINCRBY z inf e
ZINCRBY z -inf e
ZPOPMIN z
ZPOPMAX z 2
ZPOPMIN nokey
ZPOPMIN z -1
ZADD z 1 a 2 b 3 c 4 d 0.1 f 1e20 g 1e-10 h 3.14159 i 1e21 j 123456789012345680 k
ZRANGE z 0 -1 WITHSCORES
ZREMRANGEBYRANK z 0 0
ZREMRANGEBYSCORE z 1 2
ZREMRANGEBYLEX zz - +
ZREM z c nope
ZSCAN z 0
OBJECT ENCODING z
BZPOPMIN nokey 0.05
BZPOPMIN z 0.05
DEL a b nokey
UNLINK c
EXISTS s s nokey
TYPE s
TYPE h
TYPE z
TYPE st
TYPE p2
TYPE nokey
EXPIRE s 100
TTL s
EXPIRE s 50 GT
EXPIRE s 200 GT
EXPIRE s 300 LT
EXPIRE s 100 LT
EXPIRE s 10 NX
EXPIRE s 10 XX
EXPIRE s 10 NX XX
EXPIRE s 10 GT LT
EXPIRE s 10 FOO
EXPIRE nokey 10
EXPIRE s x
EXPIRE s 9223372036854775807
EXPIRE s -9223372036854775808
PERSIST s
PERSIST s
PERSIST nokey
TTL s
TTL nokey
PTTL nokey
EXPIREAT s 99999999999
EXPIRETIME s
PEXPIRETIME s
EXPIRETIME nokey
PEXPIREAT s 99999999999999
TTL nokey
EXPIRE s -1
EXISTS s
SET r1 v
RENAME r1 r2
RENAME r1 r2
RENAME r2 r2
RENAMENX r2 h
RENAMENX r2 r3
RENAMENX nokey r3
COPY r3 r4
COPY r3 r4
COPY r3 r4 REPLACE
COPY r3 r3
COPY nokey r5
COPY r3 r5 DB 1
COPY r3 r5 DB 99
COPY r3 r5 FOO
SELECT 1
KEYS *
SELECT 0
SELECT 99
SELECT x
MOVE r3 1
MOVE r3 1
MOVE r4 0
MOVE r4 99
SWAPDB 0 1
DBSIZE
SWAPDB 0 1
SWAPDB 0 99
SWAPDB x 1
~KEYS *
~KEYS r*
KEYS nomatch*
TOUCH r4 nokey
~SCAN 0 COUNT 1000
SCAN x
SCAN 0 COUNT x
SCAN 0 FOO
~SCAN 0 COUNT 1000 MATCH r* TYPE string
RANDOMKEY x
OBJECT IDLETIME r4
MULTI
SET m 1
INCR m
FOO
EXEC
MULTI
SET m 1
INCR m
LPUSH m 1
GET m
EXEC
EXEC
DISCARD
MULTI
MULTI
DISCARD
MULTI
GET
EXEC
WATCH m
2 SET m 2
MULTI
GET m
EXEC
WATCH m
UNWATCH
2 SET m 3
MULTI
GET m
BLPOP nokey 0
PING
EXEC
MULTI
WATCH m
DISCARD
WATCH nokey10
2 SET nokey10 1
MULTI
EXEC
MULTI
EXEC
SUBSCRIBE ch1 ch2
PING
PING x
GET m
2 PUBLISH ch1 hello
_
PSUBSCRIBE c*
2 PUBLISH ch1 hello2
_
_
UNSUBSCRIBE ch1
UNSUBSCRIBE
PUNSUBSCRIBE
GET m
PUBLISH nobody x
PUBSUB CHANNELS
PUBSUB NUMSUB a b
PUBSUB NUMPAT
PUBSUB SHARDCHANNELS
PUBSUB SHARDNUMSUB a
PUBSUB FOO
UNSUBSCRIBE
HELLO 4
HELLO x
HELLO 3 FOO
AUTH x
AUTH default x
AUTH a b c
CLIENT GETNAME
CLIENT SETNAME me
CLIENT GETNAME
CLIENT SETNAME "a b"
CLIENT FOO
CLIENT
CLIENT REPLY FOO
CLIENT NO-EVICT on
CLIENT NO-EVICT x
CLIENT KILL 1.2.3.4:5
CLIENT KILL ID x
CLIENT KILL ID 99999999
CLIENT KILL TYPE foo
CLIENT KILL FOO bar
CLIENT LIST TYPE foo
CLIENT LIST FOO
CLIENT UNBLOCK 99999
CLIENT UNBLOCK 99999 FOO
CONFIG GET maxmemory
CONFIG GET appendonly
CONFIG GET zset-*-listpack-value
CONFIG GET nope
CONFIG SET maxmemory 1mb
CONFIG GET maxmemory
CONFIG SET maxmemory 0
CONFIG SET maxmemory foo
CONFIG SET nope 1
CONFIG SET maxmemory
CONFIG SET appendfsync foo
CONFIG SET hz x
CONFIG SET port
CONFIG SET databases 1
CONFIG SET repl-timeout 0
CONFIG FOO
CONFIG RESETSTAT
ROLE
WAIT 0 0
WAIT x 0
WAIT 0 x
WAIT 0 -1
WAIT 1 20
ASKING
READONLY
CLUSTER INFO
CLUSTER FOO
COMMAND COUNT x
COMMAND INFO nope
COMMAND INFO get
COMMAND INFO set
COMMAND INFO blpop
COMMAND INFO mset
COMMAND INFO lmove
COMMAND INFO sintercard
COMMAND INFO expire
COMMAND INFO del
COMMAND INFO hset
COMMAND INFO multi
COMMAND INFO subscribe
COMMAND INFO ping
COMMAND INFO flushall
COMMAND INFO keys
COMMAND INFO watch
COMMAND INFO zadd
COMMAND INFO spublish
COMMAND GETKEYS SET a b
COMMAND GETKEYS MSET a 1 b 2
COMMAND GETKEYS LMPOP 2 a b LEFT
COMMAND GETKEYS PING x
COMMAND GETKEYS FOO x
COMMAND GETKEYS GET a b
COMMAND GETKEYS SINTERCARD 2 a b
COMMAND GETKEYS BLPOP a b 0
COMMAND GETKEYSANDFLAGS SET a b
COMMAND GETKEYSANDFLAGS LMOVE a b LEFT LEFT
COMMAND FOO
DEBUG FOO
EVAL "return redis.call('nosuch')" 0
EVAL "return redis.call('get')" 0
EVAL "return redis.call()" 0
EVAL "return redis.call({})" 0
EVAL "return redis.pcall('nosuch')" 0
EVAL "local t=redis.pcall('incr','a','b') return {t.err, tostring(t.ignore_error_stats_update)}" 0
EVAL "local ok,t=pcall(redis.call,'incr','a','b') return {type(t), t}" 0
EVAL "local ok,t=pcall(function() error('x') end) return {type(t), t}" 0
EVAL "local ok,t=pcall(function() foo.x=1 end) return t" 0
EVAL "error('x')" 0
EVAL "error({err='My Err'})" 0
EVAL "return {err='x'}" 0
EVAL "return {err='x y'}" 0
EVAL "return redis.error_reply('My Err')" 0
EVAL "return redis.error_reply('x')" 0
EVAL "return redis.error_reply('-A b c')" 0
EVAL "return redis.error_reply(1)" 0
EVAL "return redis.status_reply('a b')" 0
EVAL "return redis.status_reply()" 0
EVAL "x=1" 0
EVAL "return x" 0
EVAL "setmetatable(_G, {})" 0
EVAL "local g = getmetatable(_G) g.__index = {}" 0
EVAL "rawset(_G,'a',1)" 0
EVAL "table.insert(string,1)" 0
EVAL "redis.call = nil" 0
EVAL "return syntax error here" 0
EVAL "return {1,2,nil,3}" 0
EVAL "return 3.99" 0
EVAL "return -3.99" 0
EVAL "return {double=3.5}" 0
EVAL "return {map={a=1}}" 0
EVAL "return {true,false,1.5,'x',{ok='fine'},{err='bad'}}" 0
EVAL "return redis.sha1hex('')" 0
EVAL "return redis.sha1hex()" 0
EVAL "return redis.log(1)" 0
EVAL "return redis.log(9,'x')" 0
EVAL "return redis.setresp(4)" 0
EVAL "return redis.setresp()" 0
EVAL "return redis.call('multi')" 0
EVAL "return redis.call('eval','return 1',0)" 0
EVAL "return redis.call('subscribe','x')" 0
EVAL "return math.random(10)..' '..math.random()..' '..math.random(5,6)" 0
EVAL "math.randomseed(42) return math.random(1000)..' '..math.random(1000)" 0
EVAL "return math.random(0)" 0
EVAL "return {redis.set_repl(9)}" 0
EVAL "return {redis.replicate_commands()}" 0
EVAL "return {redis.breakpoint()}" 0
EVAL "return redis.acl_check_cmd('nosuch')" 0
EVAL "return redis.acl_check_cmd('get','x')" 0
EVAL "redis.call('set', 'a', 3.5) return redis.call('get','a')" 0
EVAL "redis.call('set', 'a', 1e17) return redis.call('get','a')" 0
EVAL "redis.call('set', 'a', 0.1) return redis.call('get','a')" 0
EVAL "redis.call('select', 1) return redis.call('set','in1','x')" 0
GET in1
EVAL "return redis.call('blpop','nokey',0)" 0
EVAL "redis.setresp(3) redis.call('hset','hh','f','1') return redis.call('hgetall','hh')" 0
EVAL
EVAL x
EVAL x y
EVAL x -1
EVAL x 2 a
EVALSHA aa 0
EVAL_RO "return redis.call('set','a',1)" 0
SCRIPT LOAD
SCRIPT LOAD x=
SCRIPT LOAD "return 1"
EVALSHA E0E1F9FABFC9D4800C877A703B823AC0578FF8DB 0
SCRIPT EXISTS e0e1f9fabfc9d4800c877a703b823ac0578ff8db E0E1F9FABFC9D4800C877A703B823AC0578FF8DB x
SCRIPT FLUSH foo
SCRIPT FLUSH SYNC
SCRIPT KILL
SCRIPT HELP
SCRIPT foo
EVAL "#!lua flags=foo\x0areturn 1" 0
EVAL "#!lua flags=no-writes\x0areturn redis.call('set','a',1)" 0
EVAL "#!js\x0areturn 1" 0
EVAL "#!lua foo=1\x0areturn 1" 0
EVAL "#!lua" 0
EVAL_RO "#!lua\x0areturn 1" 0
EVAL "return cjson.encode({1,2,{a='b/c'},'x\"y\\n'})" 0
EVAL "return cjson.encode({[1]=1,[20]=2})" 0
EVAL "return cjson.encode({[{}]=1})" 0
EVAL "return cjson.encode(function() end)" 0
EVAL "return cjson.encode(0/0)" 0
EVAL "return {cjson.encode({}), cjson.encode(cjson.null), cjson.encode(1.5), cjson.encode(1e20), cjson.encode(0.1), cjson.encode(12345678901)}" 0
EVAL "local t = {} for i=1,2000 do t={t} end return cjson.encode(t)" 0
EVAL "return cjson.decode(string.rep('[', 2000))" 0
EVAL "local t=cjson.decode('{\"a\":[1,2.5,null,true,\"\\\\u00e9\"],\"b\":{}}') return {t.a[1], tostring(t.a[2]), tostring(t.a[3]), tostring(t.a[4]), t.a[5]}" 0
EVAL "return cjson.decode('')" 0
EVAL "return cjson.decode('[1,')" 0
EVAL "return cjson.decode('[1 2]')" 0
EVAL "return cjson.decode('{1:2}')" 0
EVAL "return cjson.decode('{\"a\" 2}')" 0
EVAL "return cjson.decode('{\"a\":2')" 0
EVAL "return cjson.decode('nope')" 0
EVAL "return cjson.decode('\"abc')" 0
EVAL "return cjson.decode('\"a\\\\x\"')" 0
EVAL "return cjson.decode('1 2')" 0
EVAL "return cjson.decode(5)" 0
EVAL "return cjson.decode()" 0
EVAL "return cjson.decode({})" 0
EVAL "return {cjson.encode_sparse_array(), cjson.encode_max_depth(), cjson.decode_max_depth(), cjson.encode_number_precision()}" 0
EVAL "return cmsgpack.pack({1,2,3}, 'x', {a=1}, -1, 1.5, 1e10, true, nil)" 0
EVAL "return cmsgpack.pack(-100, 200, 40000, 70000, 5000000000, -40000, -5000000000, 0.1, string.rep('x', 40))" 0
EVAL "return {cmsgpack.unpack(cmsgpack.pack({1,2,{x='y'}}))[3].x}" 0
EVAL "return cmsgpack.unpack('\\xdc')" 0
EVAL "return cmsgpack.unpack('\\xc1')" 0
EVAL "return cmsgpack.pack()" 0
EVAL "return {cmsgpack.unpack_one(cmsgpack.pack(1,2,3), 1)}" 0
EVAL "return {cmsgpack.unpack_limit(cmsgpack.pack(1,2,3), 2)}" 0
EVAL "return {cmsgpack.unpack_limit(cmsgpack.pack(1,2,3), 2, 9)}" 0
EVAL "return {bit.tobit(0xffffffff), bit.bnot(0), bit.band(255,15,7), bit.bor(1,2,4), bit.bxor(5,3), bit.lshift(1,33), bit.rshift(-1,28), bit.arshift(-256,4), bit.rol(1,31), bit.ror(1,1), bit.bswap(1), bit.tohex(255), bit.tohex(255,-4), bit.tohex(-1,3)}" 0
EVAL "return bit.band()" 0
EVAL "return bit.band('x')" 0
EVAL "return struct.pack('>I2i4!8d', 513, -2, 1.5)" 0
EVAL "return {struct.unpack('<I2bBhHlLsc0', struct.pack('<I2bBhHlLsBc0', 513, -1, 255, -2, 65535, -3, 4, 'abc', 2, 'xy'))}" 0
EVAL "return {struct.unpack('>I2c3s', struct.pack('>I2c3s', 513, 'abc', 'zero'))}" 0
EVAL "return {struct.size('i4i8'), struct.size('!8bi8'), struct.size('c10')}" 0
EVAL "return struct.size('s')" 0
EVAL "return struct.pack('i99', 1)" 0
EVAL "return struct.pack('!3i', 1)" 0
EVAL "return struct.pack('y', 1)" 0
EVAL "return struct.pack('I4')" 0
EVAL "return struct.unpack('I4', 'ab')" 0
EVAL "return struct.unpack('s', 'ab')" 0
EVAL "return struct.pack('c5', 'ab')" 0
EVAL "return struct.unpack('I4', 'abcd', 0)" 0
EVAL "return string.rep('ab', 3)..string.rep('x', -1)" 0
EVAL "local co = coroutine.wrap(function(a) local b = coroutine.yield(a+1) return b*2 end) return {co(1), co(5)}" 0
EVAL "return {pcall(coroutine.wrap(function() error('in it') end))}" 0
EVAL "return loadfile('x')" 0
EVAL "return print('x')" 0
EVAL "return tostring(redis.REPL_ALL)..redis.LOG_WARNING" 0
FUNCTION LOAD x
FUNCTION LOAD "#!lua"
FUNCTION LOAD "#!lua\x0a"
FUNCTION LOAD "#!lua name=a\x0areturn 1"
FUNCTION LOAD "#!foo name=a\x0ax"
FUNCTION LOAD "#!lua name=a-b\x0ax"
FUNCTION LOAD "#!lua name=a\x0ax x"
FUNCTION LOAD "#!lua name=a\x0afoo()"
FUNCTION LOAD "#!lua name=a\x0aredis.register_function()"
FUNCTION LOAD "#!lua name=a\x0aredis.register_function(1)"
FUNCTION LOAD "#!lua name=a\x0aredis.register_function('a',2)"
FUNCTION LOAD "#!lua name=a\x0aredis.register_function('a-b',function() end)"
FUNCTION LOAD "#!lua name=a\x0aredis.register_function{function_name='a',callback=function() end, flags={'x'}}"
FUNCTION LOAD "#!lua name=a\x0aredis.register_function{function_name='a',callback=function() end, foo=1}"
FUNCTION LOAD "#!lua name=a\x0aredis.register_function{callback=function() end}"
FUNCTION LOAD "#!lua name=a foo=x\x0a"
FUNCTION LOAD "#!lua name=a name=b\x0a"
FUNCTION LOAD "#!lua name=a\x0ax=1"
FUNCTION LOAD "#!lua name=l1\x0aredis.register_function('f1', function(k,a) return {k,a} end) redis.register_function{function_name='f2',callback=function(k,a) return redis.call('set',k[1],a[1]) end,description='desc'} redis.register_function{function_name='f3',callback=function(k,a) return redis.call('set',k[1],a[1]) end,flags={'no-writes'}} redis.register_function('f4',function() redis.register_function('z',f) end) redis.register_function('f5',function() error('x') end) redis.register_function('f8',function() return KEYS end)"
FUNCTION LOAD "#!lua name=l1\x0aredis.register_function('f1',1)"
FUNCTION LOAD "#!lua name=l2\x0aredis.register_function('f1',function() end)"
FCALL f1 1 a b c
FCALL f2 1 a b
FCALL_RO f2 1 a b
FCALL f3 1 a b
FCALL f4 0
FCALL f5 0
FCALL f8 0
FCALL nof 0
FCALL f1 x
FCALL f1 -1
FCALL f1 3 a
FUNCTION LIST LIBRARYNAME x
FUNCTION LIST foo
FUNCTION LIST LIBRARYNAME
FUNCTION STATS
FUNCTION KILL
FUNCTION DELETE x
FUNCTION foo
FUNCTION HELP
FUNCTION FLUSH z
FUNCTION LOAD REPLACE "#!lua name=l1\x0aredis.register_function('f1', function(k,a) return 'new' end)"
FUNCTION LIST WITHCODE
FCALL f1 0
FCALL f2 0
FUNCTION DELETE l1
FUNCTION LIST
MULTI
EVAL "return redis.call('incr','inmulti')" 0
EVAL "return redis.call('nosuch')" 0
EXEC
COMMAND GETKEYS EVAL x 2 a b c
COMMAND INFO eval
COMMAND INFO evalsha_ro
COMMAND INFO fcall
FLUSHALL
FLUSHDB FOO
FLUSHALL SYNC ASYNC
FLUSHDB ASYNC
DBSIZE
RANDOMKEY
HELLO 3
SET a 1
GET nokey
HSET h a 1
HGETALL h
SADD s a
SMEMBERS s
ZADD z 1.5 a
ZRANGE z 0 -1 WITHSCORES
ZSCORE z a
ZPOPMIN z 1
ZADD z 2 b
ZPOPMIN z
HRANDFIELD h 1 WITHVALUES
LPOP nokey
BLPOP nokey 0.05
CONFIG GET hz
MULTI
EXEC
INCRBYFLOAT a 0.5
SUBSCRIBE x
GET a
UNSUBSCRIBE x
PING
RESET
PING
"""


# Sorted sets combined, bits, HyperLogLogs, LCS and SORT.
DATA_SCRIPT = r"""
FLUSHALL
ZADD za 1 a 2 b 3 c
ZADD zb 10 b 20 c 30 d
SADD sa a b x
SET str hello
ZUNION 2 za zb
ZUNION 2 za zb WITHSCORES
ZUNION 3 za zb sa WEIGHTS 2 3 4 WITHSCORES
ZUNION 3 za zb sa WEIGHTS 2 3
ZUNION 2 za zb AGGREGATE MIN WITHSCORES
ZUNION 2 za zb AGGREGATE MAX WITHSCORES
ZUNION 2 za zb AGGREGATE FOO WITHSCORES
ZUNION 0 za
ZUNION x za
ZUNION 3 za zb
ZUNION 2 za str
ZUNION 1 nokey
ZUNION 2 za zb WEIGHTS a b
ZINTER 2 za zb
ZINTER 2 za sa WITHSCORES
ZINTER 2 za zb WITHSCORES WEIGHTS 1 -1 AGGREGATE MIN
ZDIFF 2 za zb
ZDIFF 2 za zb WITHSCORES
ZDIFF 2 za zb WEIGHTS 1 2
ZDIFF 1 za WITHSCORES
ZDIFFSTORE out 2 za zb
ZRANGE out 0 -1 WITHSCORES
ZUNIONSTORE out 2 za zb
ZUNIONSTORE out 2 za zb WITHSCORES
ZRANGE out 0 -1 WITHSCORES
OBJECT ENCODING out
ZUNIONSTORE out 2 za zb WEIGHTS inf -inf
ZRANGE out 0 -1 WITHSCORES
ZINTERSTORE out 2 za nokey
EXISTS out
ZINTERSTORE out 2 za sa AGGREGATE SUM
ZRANGE out 0 -1 WITHSCORES
ZUNIONSTORE out 0 za
ZINTERCARD 2 za zb
ZINTERCARD 2 za zb LIMIT 1
ZINTERCARD 2 za zb LIMIT 0
ZINTERCARD 2 za zb LIMIT -1
ZINTERCARD 2 za zb LIMIT a
ZINTERCARD 0 za
ZINTERCARD 2 za zb WITHSCORES
ZMPOP 1 za MIN
ZMPOP 2 nokey za MAX COUNT 5
ZMPOP 1 nokey MIN
ZMPOP 0 za MIN
ZMPOP 1 za FOO
ZMPOP 1 zb MIN COUNT 0
ZMPOP 1 zb MIN COUNT 1 COUNT 2
ZMPOP 1 zb MIN COUNT
ZMPOP 1 str MIN
BZMPOP 0.01 1 nokey MIN
BZMPOP 0.01 2 nokey zb MAX COUNT 2
BZMPOP a 1 zb MAX
BZMPOP -1 1 zb MAX
BZMPOP 0.01 1 str MAX
ZADD zr 1 a 2 b 3 c 4 d 5 e
ZRANGESTORE out zr 0 -1
ZRANGE out 0 -1 WITHSCORES
ZRANGESTORE out zr 1 2 REV
ZRANGE out 0 -1 WITHSCORES
ZRANGESTORE out zr (1 3 BYSCORE
ZRANGE out 0 -1 WITHSCORES
ZRANGESTORE out zr 5 1 BYSCORE REV LIMIT 1 2
ZRANGE out 0 -1 WITHSCORES
ZRANGESTORE out zr [b [d BYLEX
ZRANGE out 0 -1
ZRANGESTORE out zr 0 -1 WITHSCORES
ZRANGESTORE out zr 0 -1 LIMIT 1 2
ZRANGESTORE out zr a b
ZRANGESTORE out nokey 0 -1
EXISTS out
ZRANGESTORE out str 0 -1
ZRANDMEMBER nokey
ZRANDMEMBER nokey 5
ZRANDMEMBER zr 0
~ZRANDMEMBER zr 10
~ZRANDMEMBER zr 10 WITHSCORES
ZRANDMEMBER zr a
ZRANDMEMBER zr 1 FOO
ZRANDMEMBER zr 1 WITHSCORES FOO
ZRANDMEMBER zr -9223372036854775808
ZRANDMEMBER zr -9223372036854775807 WITHSCORES
ZRANDMEMBER str
SETBIT bits 7 1
SETBIT bits 7 0
SETBIT bits 100 1
SETBIT bits 4294967296 1
SETBIT bits -1 1
SETBIT bits 1 2
SETBIT bits a 1
SETBIT zr 1 1
GETBIT bits 100
GETBIT bits 100000
GETBIT nokey 1
GETBIT zr 1
GET bits
OBJECT ENCODING bits
SET bits foobar
BITCOUNT bits
BITCOUNT bits 0 0
BITCOUNT bits 1 1
BITCOUNT bits 0 -2
BITCOUNT bits -2 -1
BITCOUNT bits -1 -2
BITCOUNT bits 5 30 BIT
BITCOUNT bits 5 30 BYTE
BITCOUNT bits 0 -1 FOO
BITCOUNT bits 0
BITCOUNT bits a b
BITCOUNT nokey
BITCOUNT nokey 0 -1
BITCOUNT zr
BITCOUNT bits -100 100
BITCOUNT bits -100 -90 BIT
SET bits "\xff\xf0\x00"
BITPOS bits 0
BITPOS bits 1
BITPOS bits 1 1
BITPOS bits 0 0 0
BITPOS bits 0 0
BITPOS bits 1 2
BITPOS bits 0 0 -1
BITPOS bits 1 7 15 BIT
BITPOS bits 0 7 15 BIT
BITPOS bits 0 7 11 BIT
BITPOS bits 1 -3 -1 BYTE
BITPOS bits 2
BITPOS bits a
BITPOS bits 1 5
BITPOS bits 0 5
BITPOS bits 0 1 0
BITPOS nokey 0
BITPOS nokey 1
BITPOS zr 1
BITPOS bits 1 0 1 FOO
SET allones "\xff\xff\xff"
BITPOS allones 0
BITPOS allones 0 0
BITPOS allones 0 0 -1
BITPOS allones 0 0 -1 BIT
BITOP AND out bits allones
GET out
BITOP OR out bits nokey
GET out
BITOP XOR out bits allones str
GET out
BITOP NOT out bits
GET out
OBJECT ENCODING out
BITOP NOT out bits bits
BITOP FOO out bits
BITOP AND out nokey nokey2
EXISTS out
BITOP AND out zr
SET n 5
BITOP OR out n
GET out
BITFIELD bf SET u8 0 255 GET u8 0
BITFIELD bf INCRBY u8 0 10
BITFIELD bf OVERFLOW SAT INCRBY u8 0 250 INCRBY u8 0 250
BITFIELD bf OVERFLOW FAIL INCRBY u8 0 10 GET u4 0
BITFIELD bf INCRBY i5 100 -17 GET u4 0
BITFIELD bf SET i8 #1 -100 GET i8 8 GET u8 8
BITFIELD bf SET u8 #2 -1
BITFIELD bf OVERFLOW SAT SET u8 0 -5 SET i8 0 1000 GET i8 0
BITFIELD bf SET i64 64 9223372036854775807 INCRBY i64 64 1
BITFIELD bf OVERFLOW SAT INCRBY i64 64 -9223372036854775808
BITFIELD bf GET u64 0
BITFIELD bf GET i65 0
BITFIELD bf GET x8 0
BITFIELD bf GET u8 -1
BITFIELD bf GET u8
BITFIELD bf FOO u8 0
BITFIELD bf OVERFLOW FOO
BITFIELD bf SET u8 0 a
BITFIELD nokey GET u8 0
EXISTS nokey
BITFIELD bf
BITFIELD zr GET u8 0
BITFIELD_RO bf GET u8 0 GET i3 5
BITFIELD_RO bf SET u8 0 1
GET bf
PFADD hll a b c d e
PFADD hll a
PFADD hll f
PFCOUNT hll
GET hll
PFADD hll2
PFADD hll2
PFADD hll2 1 2 3 a
PFCOUNT hll hll2
PFCOUNT hll hll2 nokey
PFMERGE hll3 hll hll2
PFCOUNT hll3
GET hll3
PFMERGE hll4
GET hll4
PFDEBUG ENCODING hll
PFDEBUG DECODE hll
PFDEBUG TODENSE hll
PFDEBUG TODENSE hll
PFDEBUG ENCODING hll
PFDEBUG DECODE hll
PFDEBUG GETREG hll2
PFDEBUG FOO hll
PFDEBUG ENCODING nokey
GET hll
PFADD hll g h i
PFCOUNT hll
PFADD str a
PFADD zr a
PFCOUNT str
PFCOUNT nokey
PFMERGE str hll
SET bad "HYLL\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x80\x00"
PFCOUNT bad
PFADD bad x
PFMERGE out bad
SET lcs1 ohmytext
SET lcs2 mynewtext
LCS lcs1 lcs2
LCS lcs1 lcs2 LEN
LCS lcs1 lcs2 IDX
LCS lcs1 lcs2 IDX MINMATCHLEN 4
LCS lcs1 lcs2 IDX MINMATCHLEN 4 WITHMATCHLEN
LCS lcs1 lcs2 IDX LEN
LCS lcs1 nokey
LCS lcs1 nokey IDX
LCS lcs1 zr
LCS lcs1 lcs2 FOO
LCS lcs1 lcs2 MINMATCHLEN
RPUSH sl 3 1 2 10
SORT sl
SORT sl DESC
SORT sl ALPHA
SORT sl ALPHA DESC
SORT sl LIMIT 1 2
SORT sl LIMIT -1 2
SORT sl LIMIT 10 2
SORT sl LIMIT 1 -1
SORT sl LIMIT 0 0
SORT sl LIMIT a b
MSET w1 30 w2 20 w3 10 w10 5
MSET o1 one o2 two o3 three
SORT sl BY w*
SORT sl BY w* GET o*
SORT sl BY w* GET # GET o* GET nothing
SORT sl BY nosort
SORT sl BY nosort DESC
SORT sl BY nosort LIMIT 1 2
SORT sl BY w* STORE out
LRANGE out 0 -1
SORT sl GET o* STORE out
LRANGE out 0 -1
OBJECT ENCODING out
SORT nokey
SORT nokey STORE out
EXISTS out
HSET h1 f 3 g x
HSET h2 f 2
HSET h3 f 1
SORT sl BY h*->f
SORT sl BY h*->f GET h*->g GET h*->
SORT sl BY w* ALPHA
SORT sl BY o* ALPHA
SORT sl FOO
SORT str
RPUSH sw a b c
SORT sw
SORT sw ALPHA
SADD ss 3 1 2
SORT ss
SORT ss DESC GET #
SORT ss BY nosort STORE out
LRANGE out 0 -1
SORT zr ALPHA DESC
SORT zr BY nosort
SORT zr BY nosort DESC LIMIT 1 2
SORT zr
SORT_RO sl DESC
SORT_RO sl STORE out
COMMAND GETKEYS SORT sl BY nosort STORE out
COMMAND GETKEYS ZUNIONSTORE out 2 za zb
COMMAND GETKEYS ZDIFF 2 za zb
COMMAND GETKEYS BITOP AND out a b
COMMAND INFO zunionstore
COMMAND INFO zinter
COMMAND INFO zintercard
COMMAND INFO zmpop
COMMAND INFO bzmpop
COMMAND INFO zrangestore
COMMAND INFO zrandmember
COMMAND INFO setbit
COMMAND INFO getbit
COMMAND INFO bitcount
COMMAND INFO bitpos
COMMAND INFO bitop
COMMAND INFO bitfield
COMMAND INFO bitfield_ro
COMMAND INFO pfadd
COMMAND INFO pfcount
COMMAND INFO pfmerge
COMMAND INFO pfdebug
COMMAND INFO pfselftest
COMMAND INFO lcs
COMMAND INFO sort
COMMAND INFO sort_ro
HELLO 3
ZADD za 1 a 2 b
ZUNION 2 za zr WITHSCORES
~ZRANDMEMBER za 5 WITHSCORES
ZMPOP 1 za MIN
LCS lcs1 lcs2 IDX
BITFIELD bf OVERFLOW FAIL INCRBY u2 0 10
RESET
XADD st * a
XADD st 1-1 a 1 b 2
XADD st 1-1 a 1
XADD st 0-0 a 1
XADD st 1-* a 3 b 4
XADD st 2 c 5
XADD st 2-* c -100
XADD st 3-a c 1
XADD st abc c 1
XADD st - c 1
XADD st 1-2-3 c 1
XADD st NOMKSTREAM 5-5 c 1 d
XADD nost NOMKSTREAM * c 1
XADD nost NOMKSTREAM MAXLEN
XADD st MAXLEN 3 10-0 c 1
XADD st MAXLEN = 3 11-0 c 1
XADD st MAXLEN ~ 3 12-0 c 1
XADD st MAXLEN ~ 3 LIMIT 10 13-0 c 1
XADD st MAXLEN 3 LIMIT 10 14-0 c 1
XADD st LIMIT 10 14-0 c 1
XADD st LIMIT 0 14-0 c 1
XADD st MAXLEN -1 15-0 c 1
XADD st MAXLEN 2 MINID 3 15-0 c 1
XADD st MINID 12 15-0 c 9999999999 d 12345678901234567890 e -5000 f 40000 g -40000 h 10000000 i 3000000000
XADD st MAXLEN a 16-0 c 1
XADD str 1-1 a b
XLEN st
XLEN nost
XLEN str
XRANGE st - +
XRANGE st - + COUNT 2
XRANGE st - + COUNT 0
XRANGE st - + COUNT -1
XRANGE st - + COUNT a
XRANGE st - + FOO
XRANGE st 12 14
XRANGE st (12-0 (15-0
XRANGE st (18446744073709551615-18446744073709551615 +
XRANGE st - (0-0
XRANGE st + -
XRANGE st a b
XRANGE nost - +
XRANGE str - +
XREVRANGE st + -
XREVRANGE st + - COUNT 1
XREVRANGE st 14 12
XREVRANGE st 12 14
TYPE st
OBJECT ENCODING st
XDEL st 13-0 99-0
XDEL st a
XDEL nost 1
XDEL str 1
XRANGE st - +
XTRIM st MAXLEN 1
XTRIM st MAXLEN ~ 0
XTRIM st MAXLEN 0
XTRIM st FOO 1
XTRIM st MAXLEN
XTRIM st MINID 5
XTRIM nost MAXLEN 1
XTRIM st LIMIT 5
XLEN st
EXISTS st
XINFO STREAM st
XADD st 20-1 a 1
XADD st 20-2 a 1
XADD st 20-3 a 1
XADD st 20-4 b 1 c 2
XADD st 20-5 a 1
XDEL st 20-3
XINFO STREAM st
XINFO STREAM st FULL
XINFO STREAM st FULL COUNT 1
XINFO STREAM st FULL COUNT 0
XINFO STREAM st FULL FOO 1
XINFO STREAM st FOO
XINFO STREAM nost
XINFO STREAM str
XINFO GROUPS st
XINFO CONSUMERS st g
XINFO FOO st
XINFO
XINFO HELP
XGROUP HELP
XGROUP CREATE st g 0
XGROUP CREATE st g 0
XGROUP CREATE st g2 $
XGROUP CREATE st g3 20-2 ENTRIESREAD 2
XGROUP CREATE st g4 20-2 ENTRIESREAD -2
XGROUP CREATE st g4 20-2 FOO
XGROUP CREATE st g4 abc
XGROUP CREATE nost g 0
XGROUP CREATE nost2 g $ MKSTREAM
XINFO STREAM nost2
XGROUP CREATE str g 0
XGROUP FOO st g
XGROUP SETID st g2 0
XGROUP SETID st nog 0
XGROUP SETID nost g 0
XGROUP CREATECONSUMER st g al
XGROUP CREATECONSUMER st g al
XGROUP CREATECONSUMER st nog al
XGROUP DELCONSUMER st g bo
XGROUP DESTROY st g2
XGROUP DESTROY st g2
XGROUP DESTROY nost g2
XINFO GROUPS st
XREADGROUP GROUP g al COUNT 2 STREAMS st >
XREADGROUP GROUP g bo COUNT 1 STREAMS st >
XREADGROUP GROUP g bo STREAMS st 0
XREADGROUP GROUP g bo STREAMS st 99
XREADGROUP GROUP g al STREAMS st 20-1
XREADGROUP GROUP g al NOACK STREAMS st >
XREADGROUP GROUP g al STREAMS st >
XREADGROUP GROUP g al BLOCK 10 STREAMS st >
XREADGROUP GROUP nog al STREAMS st >
XREADGROUP GROUP g al STREAMS nost >
XREADGROUP GROUP g al STREAMS st $
XREADGROUP GROUP g al STREAMS st
XREADGROUP GROUP g al STREAMS st nost2 > 0
XREADGROUP GROUP g al COUNT a STREAMS st >
XREADGROUP GROUP g al BLOCK a STREAMS st >
XREADGROUP GROUP g al BLOCK -1 STREAMS st >
XREADGROUP NOACK STREAMS st > a b
XREADGROUP GROUP g al FOO STREAMS st >
XREADGROUP GROUP g al STREAMS str >
XINFO GROUPS st
XPENDING st g
XPENDING st nog
XPENDING nost g
XPENDING st g - + 0
XPENDING st g - +
XPENDING st g - + 10 nobody
XPENDING st g IDLE 100000 - + 10
XPENDING st g IDLE a - + 10
XPENDING st g IDLE 1 - +
XPENDING st g - + a
XPENDING st g a + 10
XPENDING str g
XACK st g 20-1 99-1
XACK st g abc
XACK st nog 20-1
XACK nost g 20-1
XACK str g 1
XPENDING st g
XCLAIM st g al 0 20-4
XCLAIM st g al 0 20-4 JUSTID
XCLAIM st g al 1000000 20-4
XCLAIM st g cy 0 20-1 FORCE
XCLAIM st g cy 0 99-1 FORCE
XCLAIM st g cy 0 20-2 RETRYCOUNT 7 IDLE 1000 JUSTID LASTID 20-5
XCLAIM st g cy a 20-2
XCLAIM st g cy 0 20-2 FOO
XCLAIM st g cy 0 20-2 TIME a
XCLAIM st nog cy 0 20-2
XCLAIM nost g cy 0 20-2
XDEL st 20-2
XCLAIM st g al 0 20-2
XPENDING st g
XAUTOCLAIM st g dd 0 0
XAUTOCLAIM st g dd 0 0 COUNT 1
XAUTOCLAIM st g dd 0 0 COUNT 1 JUSTID
XAUTOCLAIM st g dd 0 (20-1 JUSTID
XAUTOCLAIM st g dd 100000 -
XAUTOCLAIM st g dd 0 0 COUNT 0
XAUTOCLAIM st g dd 0 0 FOO
XAUTOCLAIM st g dd a 0
XAUTOCLAIM st nog dd 0 0
XDEL st 20-1
XAUTOCLAIM st g dd 0 -
XPENDING st g
XGROUP DELCONSUMER st g dd
XPENDING st g
XREAD STREAMS st 0
XREAD COUNT 1 STREAMS st 0
XREAD COUNT 1 STREAMS st nost2 0 0
XREAD STREAMS st $
XREAD STREAMS st >
XREAD STREAMS st
XREAD STREAMS nost 0
XREAD BLOCK 10 STREAMS st $
XREAD BLOCK 10 STREAMS nost 0
XREAD BLOCK a STREAMS nost 0
XREAD BLOCK -1 STREAMS nost 0
XREAD COUNT a STREAMS nost 0
XREAD GROUP g al STREAMS st >
XREAD NOACK STREAMS st 0
XREAD FOO STREAMS st 0
XREAD STREAMS str 0
XREAD COUNT 5
XSETID st 30-0
XSETID st 20-0
XSETID st 40-0 ENTRIESADDED 100 MAXDELETEDID 20-3
XSETID st 40-0 ENTRIESADDED 1
XSETID st 40-0 ENTRIESADDED -1
XSETID st 40-0 MAXDELETEDID 50-0
XSETID st 40-0 FOO 1
XSETID nost 1-1
XSETID st abc
XSETID str 1-1
XINFO STREAM st
XADD st 18446744073709551615-18446744073709551614 a 1
XADD st 18446744073709551615-* a 1
XADD st * a 1
COPY st st2
XINFO STREAM st2
DEL st
XADD st 1-1 a 1
XGROUP CREATE st g 0
XREADGROUP GROUP g c1 STREAMS st >
XTRIM st MAXLEN 0
XADD st 2-1 a 1
XREADGROUP GROUP g c1 STREAMS st >
XINFO GROUPS st
XADD st 3-1 a 1
XADD st 4-1 a 1
XINFO GROUPS st
XDEL st 3-1
XINFO GROUPS st
XREADGROUP GROUP g c1 STREAMS st >
XINFO GROUPS st
COMMAND GETKEYS XREAD BLOCK 0 STREAMS a b 0 0
COMMAND GETKEYS XREADGROUP GROUP g c STREAMS a b > >
COMMAND INFO xadd
COMMAND INFO xread
COMMAND INFO xreadgroup
COMMAND INFO xrange
COMMAND INFO xrevrange
COMMAND INFO xlen
COMMAND INFO xdel
COMMAND INFO xtrim
COMMAND INFO xack
COMMAND INFO xclaim
COMMAND INFO xautoclaim
COMMAND INFO xpending
COMMAND INFO xsetid
COMMAND INFO xgroup
COMMAND INFO xinfo
HELLO 3
XREAD STREAMS st 0
XREADGROUP GROUP g c1 STREAMS st 0
XINFO GROUPS st
XRANGE st - +
XINFO STREAM st
XPENDING st nog
RESET
"""


def words(line):
    out, word, quoted, started, index = [], b"", False, False, 0
    data = line.encode()
    while index < len(data):
        byte = data[index:index + 1]
        if byte == b'"':
            quoted, started = not quoted, True
        elif byte == b"\\" and quoted and data[index + 1:index + 2] == b"x":
            word += bytes([int(data[index + 2:index + 4], 16)])
            index += 3
        elif byte == b" " and not quoted:
            if started or word:
                out.append(word)
            word, started = b"", False
        else:
            word += byte
        index += 1
    if started or word:
        out.append(word)
    return out


# Users: the first connection gives and takes, the second is the user. It ends as the default user.
ACL_SCRIPT = r"""
ACL WHOAMI
ACL LIST
ACL USERS
ACL CAT
ACL CAT nosuch
ACL CAT a b
ACL GETUSER nobody
ACL GETUSER default
ACL DELUSER default
ACL DELUSER nobody
ACL SETUSER
ACL SETUSER "a b"
ACL SETUSER "a\x00b"
ACL SETUSER alice
ACL GETUSER alice
2 AUTH alice x
ACL SETUSER alice >one >two >one
ACL SETUSER alice <three
ACL SETUSER alice <two
ACL SETUSER alice #12
ACL SETUSER alice !12
ACL SETUSER alice on
2 AUTH alice two
2 AUTH nobody one
2 AUTH alice one
2 GET k
ACL SETUSER alice +get
2 GET k
ACL SETUSER alice ~k* %R~r* %W~w*
2 GET k
2 GET r
2 GET w
2 SET w 1
ACL SETUSER alice +set +copy +sort +mget +bitfield +exists +eval +multi +exec +publish +subscribe +psubscribe +unsubscribe +punsubscribe
2 SET w 1
2 SET w 1 GET
2 SET r 1
2 COPY r w
2 COPY w r
2 MGET k r w
2 BITFIELD r GET u8 0
2 BITFIELD r SET u8 0 1
2 EXISTS w
2 EXISTS other
2 SORT r STORE w
2 SORT r BY x*
2 SORT r GET x*
2 EVAL "return 1" 1 k
2 EVAL "return 1" 1 other
2 EVAL "return 1" 5 other
2 EVAL "return redis.acl_check_cmd('set','k','1')" 0
2 EVAL "return redis.acl_check_cmd('set','r','1')" 0
2 EVAL "return redis.acl_check_cmd('nosuch')" 0
2 PUBLISH news x
ACL SETUSER alice &news &sport*
2 PUBLISH news x
2 PUBLISH sports x
2 PUBLISH other x
2 SUBSCRIBE other
2 PSUBSCRIBE sport*
2 PUNSUBSCRIBE
2 PSUBSCRIBE sports*
2 MULTI
2 SET k 2
2 DEL k
2 EXEC
2 MULTI
2 SET k 2
ACL SETUSER alice -set
2 EXEC
2 CONFIG GET port
ACL SETUSER alice +config|get +select|0
2 CONFIG GET nosuch
2 CONFIG SET nosuch 1
2 SELECT 0
2 SELECT 1
ACL SETUSER alice +config|nosuch
ACL SETUSER alice +config|get|x
ACL SETUSER alice +get|a|b
ACL SETUSER alice -get|a
ACL SETUSER alice +select|
ACL SETUSER alice +nosuch
ACL SETUSER alice +@nosuch
ACL SETUSER alice ~*
ACL SETUSER alice ~x
ACL SETUSER alice &*
ACL SETUSER alice &x
ACL SETUSER alice resetkeys resetchannels "~a b"
ACL SETUSER alice %X~a
ACL SETUSER alice %~a
ACL SETUSER alice nosuch
ACL SETUSER alice (+get ~a
ACL SETUSER alice (+get nosuch)
ACL SETUSER alice reset on >one
ACL SETUSER alice ( +get ~a ) "(+set ~b &c)" ()
ACL GETUSER alice
ACL LIST
ACL SETUSER alice clearselectors
ACL SETUSER alice %R~f %W~f %RW~g
ACL GETUSER alice
ACL DRYRUN alice GET f
ACL DRYRUN alice GET x
ACL DRYRUN alice DEL f
ACL DRYRUN alice PUBLISH f x
ACL DRYRUN alice GET
ACL DRYRUN alice NOSUCH x
ACL DRYRUN nobody GET x
ACL SETUSER bob reset on nopass +@all ~rw* %R~read* %W~write* &*
ACL DRYRUN bob MIGRATE h 1 rw 0 500
ACL DRYRUN bob MIGRATE h 1 read 0 500
ACL DRYRUN bob MIGRATE h 1 "" 0 500 KEYS rw read
ACL DRYRUN bob MIGRATE h 1 "" 0 500 AUTH KEYS KEYS rw
ACL DRYRUN bob SORT read STORE write
ACL DRYRUN bob SORT read STORE read
ACL DRYRUN bob GEORADIUS read 1 2 3 m STORE write
ACL DRYRUN bob GEORADIUS read 1 2 3 m STORE read
ACL DRYRUN bob ZUNIONSTORE write 2 read rw
ACL DRYRUN bob ZUNIONSTORE write 9 read rw
ACL DRYRUN bob XREAD STREAMS read 0
ACL DRYRUN bob XREAD STREAMS write 0
ACL DRYRUN bob XREADGROUP GROUP g c STREAMS read 0
ACL DRYRUN bob LMOVE rw write LEFT LEFT
ACL DRYRUN bob LMOVE read write LEFT LEFT
ACL DRYRUN bob BITOP AND write read rw
ACL DRYRUN bob PFCOUNT write
ACL DRYRUN bob OBJECT ENCODING x
ACL DRYRUN bob MSET write 1 read 2
ACL DRYRUN bob SINTERCARD 2 read write
ACL DRYRUN bob EVAL "" 1 read
ACL DRYRUN bob EVAL_RO "" 1 read
ACL DRYRUN bob WATCH x
ACL GENPASS x
ACL GENPASS 0
ACL GENPASS 4097
ACL GENPASS 1 2
ACL LOG x
ACL LOG 1 2
ACL LOG 0
ACL LOG RESET
ACL LOG
ACL LOAD
ACL SAVE
ACL NOSUCH
ACL HELP x
ACL HELP
AUTH a b c
AUTH nobody
AUTH default x
HELLO 2 AUTH nobody x
CONFIG SET requirepass secret
ACL GETUSER default
AUTH wrong
AUTH secret
CONFIG SET requirepass ""
ACL GETUSER default
~CONFIG GET acl*
CONFIG SET acllog-max-len -1
CONFIG SET acl-pubsub-default x
CONFIG SET aclfile x
2 AUTH default x
2 ACL WHOAMI
"""


def normalised(reply, unordered):
    """A reply without what legitimately differs between two servers and two runs."""
    if isinstance(reply, list):
        items = [normalised(item, unordered) for item in reply if item != b"sanitize-payload"]
        return sorted(items, key=repr) if unordered else items
    if isinstance(reply, dict):
        pairs = [[k, b"*" if k == b"id" else normalised(v, unordered)] for k, v in reply["map"]]
        return {"map": sorted(pairs, key=repr)}
    if isinstance(reply, bytes):
        reply = re.sub(rb"7\.\d+\.\d+", b"7.x.y", reply)
        # Redis 7.2 shows what it sanitises, and names the user where 7.0 says `This user`.
        reply = reply.replace(b" sanitize-payload", b"")
        return re.sub(rb"^(This user|User \S+) has no permissions", b"Someone has no permissions", reply)
    if reply in ("+    Prints this help.", "+    Print this help."):
        return "+    Prints this help."
    if isinstance(reply, str) and reply.startswith("-NOPERM"):
        return denial(reply)
    return reply


def denial(line):
    """What is denied. Redis 7.2 says it in other words than 7.0."""
    for pattern, what in ((r"run the '(.*)' command", r"command \1"), (r"access.*key", "key"), (r"access.*channel", "channel")):
        match = re.search(pattern, line)
        if match and "ACLs rules changed" not in line:
            return f"-NOPERM {match.expand(what)}"
    return line


def categories(connections):
    """The categories of every command that both servers have, from ACL CAT."""
    ask = lambda connection, name: set(connection.call("ACL", "CAT", name))
    known = [ask(connection, "fast") | ask(connection, "slow") for connection in connections]
    both = known[0] & known[1]
    for name in connections[0].call("ACL", "CAT"):
        real, target = (ask(connection, name) & both for connection in connections)
        compare(f"ACL CAT {name.decode()}: commands that both have", [sorted(real - target), sorted(target - real)], [[], []])


def flags_only(reply):
    """Of COMMAND INFO: name, arity, flags and key positions; tips and notes are documentation."""
    if isinstance(reply, list) and reply and isinstance(reply[0], list) and len(reply[0]) == 10:
        entry = reply[0]
        return [entry[0], entry[1], sorted(map(repr, entry[2])), entry[3:6], sorted(map(repr, entry[6])), keys_only(entry[8])]
    return reply


def keys_only(specs):
    """Key specifications without their notes."""
    return [[item for item in spec if True][-6:] for spec in specs]


def compare(name, real, target):
    """One check. A name that comes again is numbered, as names of checks are looked up."""
    name = name.replace("#", "number sign ")
    seen = NAMES[name] = NAMES.get(name, 0) + 1
    trouble = "" if real == target else f"saw {target!r}, wanted {real!r}"
    check.report(name if seen == 1 else f"{name} ({seen})", trouble)


NAMES = {}


def main():
    with ExitStack() as stack:
        addresses = sys.argv[1:]
        if not addresses:
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                port = probe.getsockname()[1]
            real_redis.server(stack, Path(os.environ["SCRATCH"]), "127.0.0.1", port, ["--enable-debug-command", "no"])
            addresses = [f"127.0.0.1:{port}", os.environ["REDIS_NODES"].split(",")[0]]
        first = [Connection(address) for address in addresses]
        second = [Connection(address) for address in addresses]
        for connection in first:
            connection.call("FLUSHALL")
        for line in filter(None, (SCRIPT + DATA_SCRIPT + ACL_SCRIPT).split("\n")):
            scripted(line, second if line.startswith("2 ") else first)
        categories(first)
        random_commands(first)
    check.end()


def scripted(line, connections):
    """A line of a script, to both."""
    command = line.lstrip("~").removeprefix("2 ")
    arguments = words(command) if command != "_" else []
    replies = []
    for connection in connections:
        if arguments:
            connection.send(arguments)
        many = len(arguments) - 1 if arguments and arguments[0].lower() in (b"subscribe", b"psubscribe") else 1
        replies.append([connection.read() for _ in range(many)] if many > 1 else connection.read())
    # What Redis 7.2 says there that 7.0 does not is text for people.
    if "OBJECT HELP" in command:
        return
    if "COMMAND INFO" in command:
        replies = [flags_only(reply) for reply in replies]
    compare(line, *(normalised(reply, line.startswith("~")) for reply in replies))


RANDOM, BATCH = 20000, 100


def random_commands(connections):
    """Random commands over few keys, so that types clash and collections grow, shrink and vanish."""
    draw = random.Random(7)
    key = lambda: draw.choice("abcdefgh")
    value = lambda: draw.choice(["1", "2", "-3", "10", "x", "yy", "3.5", "", "z" * 70])
    number = lambda: str(draw.randint(-4, 6))
    shapes = {
        "SET": [key, value], "GET": [key], "APPEND": [key, value], "INCRBY": [key, number], "GETRANGE": [key, number, number],
        "SETRANGE": [key, lambda: str(draw.randint(0, 9)), value], "STRLEN": [key], "DEL": [key], "TYPE": [key], "EXISTS": [key, key],
        "LPUSH": [key, value, value], "RPUSH": [key, value], "LPOP": [key], "RPOP": [key, number], "LRANGE": [key, number, number],
        "LREM": [key, number, value], "LTRIM": [key, number, number], "LSET": [key, number, value], "LINDEX": [key, number],
        "LINSERT": [key, lambda: draw.choice(["BEFORE", "AFTER"]), value, value], "LPOS": [key, value], "LMOVE": [key, key, lambda: "LEFT", lambda: "RIGHT"],
        "HSET": [key, value, value], "HDEL": [key, value], "HGET": [key, value], "HLEN": [key], "HINCRBY": [key, value, number],
        "SADD": [key, value, value], "SREM": [key, value], "SISMEMBER": [key, value], "SCARD": [key], "SMOVE": [key, key, value],
        "SUNIONSTORE": [key, key, key], "SINTERSTORE": [key, key, key], "SDIFFSTORE": [key, key, key],
        "SETBIT": [key, lambda: str(draw.randint(0, 40)), lambda: draw.choice("01")], "GETBIT": [key, lambda: str(draw.randint(0, 40))],
        "BITCOUNT": [key, number, number, lambda: draw.choice(["BIT", "BYTE"])], "BITPOS": [key, lambda: draw.choice("01"), number, number],
        "BITOP": [lambda: draw.choice(["AND", "OR", "XOR"]), key, key, key], "SORT": [key, lambda: "ALPHA", lambda: "LIMIT", number, number],
        "BITFIELD": [key, lambda: "OVERFLOW", lambda: draw.choice(["WRAP", "SAT", "FAIL"]), lambda: "INCRBY", lambda: draw.choice(["i5", "u3", "i64", "u63"]), lambda: str(draw.randint(0, 20)), number],
        "ZUNIONSTORE": [key, lambda: "2", key, key], "ZINTERSTORE": [key, lambda: "2", key, key], "ZDIFFSTORE": [key, lambda: "2", key, key],
        "ZRANGESTORE": [key, key, number, number], "ZMPOP": [lambda: "1", key, lambda: draw.choice(["MIN", "MAX"])], "PFADD": [key, value],
        "ZADD": [key, number, value, number, value], "ZINCRBY": [key, number, value], "ZREM": [key, value], "ZRANK": [key, value],
        "ZRANGE": [key, number, number, lambda: "WITHSCORES"], "ZREVRANGE": [key, number, number], "ZCOUNT": [key, number, number],
        "ZRANGEBYSCORE": [key, number, number], "ZPOPMIN": [key], "ZREMRANGEBYRANK": [key, number, number], "ZSCORE": [key, value],
        "RENAME": [key, key], "RENAMENX": [key, key], "COPY": [key, key], "PERSIST": [key], "TTL": [key], "EXPIRE": [key, lambda: "1000"],
        "GETDEL": [key], "GETSET": [key, value], "SETNX": [key, value], "MSETNX": [key, value, key, value], "DBSIZE": [],
        "HGETALL": [key], "SMEMBERS": [key], "INCRBYFLOAT": [key, value], "HINCRBYFLOAT": [key, value, value],
    }
    for connection in connections:
        connection.call("FLUSHALL")
    for batch in range(RANDOM // BATCH):
        commands = []
        for _ in range(BATCH):
            name = draw.choice(list(shapes))
            commands.append([name] + [make() for make in shapes[name]])
        answers = [connection.call_all(commands) for connection in connections]
        seen = []
        for command, *replies in zip(commands, *answers):
            seen.append([(command, normalised(reply, command[0] in ("HGETALL", "SMEMBERS"))) for reply in replies])
        differing = next((pair for pair in seen if pair[0] != pair[1]), [None, None])
        compare(f"random commands from {batch * BATCH + 1} to {(batch + 1) * BATCH}", *differing)


if __name__ == "__main__":
    main()
