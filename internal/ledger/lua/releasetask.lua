-- Release gives a task back to its queue. ARGV: now, session, field. Returns a number, or 0 when it is not ours.
if redis.call('HEXISTS', G .. 'w:' .. ARGV[2], ARGV[3]) == 0 then return 0 end
-- At the end: a task that fails again and again must not stop the others.
local kind, id = string.match(ARGV[3], '^(%a):(.*)$')
redis.call('HDEL', G .. 'w:' .. ARGV[2], ARGV[3])
redis.call('RPUSH', G .. kind .. 'q', id)
return told(ARGV[2])
