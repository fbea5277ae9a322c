-- AdvanceAudit moves a range's cursor, counts what was compared and sets keys aside, in one step.
-- ARGV: now, session, range, cursor, done ("1"/""), compared, items (or ""), bound of the keys set aside.
-- Returns {"OK", end, number}, {"FULL"} or {"LOST"}.
local f = 'a:' .. ARGV[3]
if not owns(ARGV[2], f) then return {'LOST'} end
if ARGV[7] ~= '' and redis.call('LLEN', G .. 'zq') >= tonumber(ARGV[8]) then return {'FULL'} end
local r = redis.call('HMGET', G .. f, 'bucket', 'end')
redis.call('HINCRBY', AUDIT, 'compared', ARGV[6])
redis.call('HSET', AUDIT, 'problem', '')
if ARGV[7] ~= '' then addtask('z', 'bucket', r[1], 'items', ARGV[7], 'due', 0) end
if ARGV[5] == '1' then endtask(ARGV[2], f) else redis.call('HSET', G .. f, 'cursor', ARGV[4]) end
return {'OK', r[2], tostring(told(ARGV[2]))}
