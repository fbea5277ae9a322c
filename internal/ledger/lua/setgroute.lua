-- SetRoute puts a route in force for the sessions.
-- ARGV: now, epoch, main, state, hold, sync, uploads, run. Returns the epoch in force.
local cur = redis.call('HGET', G .. 'route', 'epoch')
if cur and tonumber(cur) > tonumber(ARGV[2]) then return cur end
redis.call('HSET', G .. 'route', 'epoch', ARGV[2], 'main', ARGV[3], 'state', ARGV[4], 'hold', ARGV[5],
  'sync', ARGV[6], 'uploads', ARGV[7], 'run', ARGV[8])
return ARGV[2]
