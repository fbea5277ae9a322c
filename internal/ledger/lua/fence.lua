-- Fence declares a session dead. ARGV: now, session. Returns ms since it was first fenced.
local s = ARGV[2]
redis.call('SET', G .. 'dead:' .. s, '1', 'EX', 2592000)
if redis.call('EXISTS', G .. 's:' .. s) == 0 then return NOW end
redis.call('HSETNX', G .. 's:' .. s, 'fenced', NOW)
return NOW - tonumber(redis.call('HGET', G .. 's:' .. s, 'fenced'))
