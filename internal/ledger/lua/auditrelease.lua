-- Release gives a task of the audit back, and says why. ARGV: now, session, field, problem. Returns a number, or 0 when it is not ours.
if not owns(ARGV[2], ARGV[3]) then return 0 end
if ARGV[4] ~= '' then redis.call('HSET', AUDIT, 'problem', ARGV[4]) end
local kind, id = string.match(ARGV[3], '^(%a):(.*)$')
redis.call('HDEL', G .. 'w:' .. ARGV[2], ARGV[3])
redis.call('RPUSH', G .. kind .. 'q', id)
return told(ARGV[2])
