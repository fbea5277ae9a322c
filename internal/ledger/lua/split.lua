-- Split cuts (cursor, end] at mid. ARGV: now, session, range, mid. Returns a number, or 0 when the task is not ours.
local k = G .. 'r:' .. ARGV[3]
if redis.call('HEXISTS', G .. 'w:' .. ARGV[2], 'r:' .. ARGV[3]) == 0 then return 0 end
local r = redis.call('HMGET', k, 'bucket', 'end')
local id = redis.call('INCR', G .. 'next')
redis.call('HSET', G .. 'r:' .. id, 'bucket', r[1], 'after', ARGV[4], 'end', r[2], 'cursor', '')
redis.call('HSET', k, 'end', ARGV[4])
redis.call('HINCRBY', G .. 'b:' .. r[1], 'open', 1)
redis.call('RPUSH', G .. 'rq', id)
redis.call('DEL', G .. 'hungry')
return told(ARGV[2])
