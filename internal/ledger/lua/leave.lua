-- Leave ends a session: its tasks go back to their queues.
-- ARGV: now, session, fence ("1": it did not end by itself). Returns {role, instance, adopted, unrecorded}.
local s = ARGV[2]
local k = G .. 's:' .. s
local info = redis.call('HMGET', k, 'role', 'instance', 'adopted', 'unrecorded')
if ARGV[3] == '1' then redis.call('SET', G .. 'dead:' .. s, '1', 'EX', 2592000) end
for _, f in ipairs(redis.call('HKEYS', G .. 'w:' .. s)) do requeue(s, f) end
redis.call('DEL', k)
redis.call('SREM', G .. 'sess', s)
return {info[1] or '', info[2] or '', info[3] or '', info[4] or ''}
