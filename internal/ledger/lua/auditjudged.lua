-- FinishSuspects counts what became of keys that were set aside; those that are left are looked at again later.
-- ARGV: now, session, batch, token, items left (or ""), ms to wait, problem (or ""), bound of names, number of counters,
-- then name and value of each counter, then differences (JSON). Returns a number, or 0 when the task is not ours (any more:
-- a call that is repeated, or comes late, counts nothing).
local f = 'z:' .. ARGV[3]
if not owns(ARGV[2], f) or redis.call('HGET', G .. 'w:' .. ARGV[2], f) ~= ARGV[4] then return 0 end
if ARGV[7] ~= '' then redis.call('HSET', AUDIT, 'problem', ARGV[7]) end
local at = 10
for _ = 1, tonumber(ARGV[9]) do
  redis.call('HINCRBY', AUDIT, ARGV[at], ARGV[at + 1])
  at = at + 2
end
for i = at, #ARGV do
  if redis.call('LLEN', G .. 'anames') < tonumber(ARGV[8]) then redis.call('RPUSH', G .. 'anames', ARGV[i]) end
end
if ARGV[5] == '' then
  endtask(ARGV[2], f)
else
  redis.call('HSET', G .. f, 'items', ARGV[5], 'due', NOW + tonumber(ARGV[6]))
  redis.call('HDEL', G .. 'w:' .. ARGV[2], f)
  redis.call('RPUSH', G .. 'zq', ARGV[3])
end
return told(ARGV[2])
