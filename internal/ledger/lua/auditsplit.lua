-- SplitAudit cuts a range (cursor, end] at mid. ARGV: now, session, range, mid. Returns a number, or 0 when the task is not ours.
local f = 'a:' .. ARGV[3]
if not owns(ARGV[2], f) then return 0 end
local r = redis.call('HMGET', G .. f, 'bucket', 'end')
addtask('a', 'bucket', r[1], 'after', ARGV[4], 'end', r[2], 'cursor', '')
redis.call('HSET', G .. f, 'end', ARGV[4])
redis.call('DEL', G .. 'hungrya')
return told(ARGV[2])
