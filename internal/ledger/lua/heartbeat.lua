-- Heartbeat registers a session or says that it still runs.
-- ARGV: now, session, role, instance, epoch obeyed, unrecorded, adopts ("1": earlier
-- sessions of this instance and home ended without unrecorded writes), number of the last heartbeat that was answered,
-- first session of this process, ms since the process began, home.
-- Returns {"FENCED"} or {"OK", now, epoch, main, state, hold, sync, uploads, run, number,
-- lost ("1": an answered heartbeat, or change of a task, is not known any more)}; epoch "" = no route.
local s = ARGV[2]
if fenced(s) then return {'FENCED'} end
local k = G .. 's:' .. s
if redis.call('SADD', G .. 'sess', s) == 1 or redis.call('HGET', k, 'instance') ~= ARGV[4] then -- see orphans.lua
  redis.call('HSET', k, 'role', ARGV[3], 'instance', ARGV[4], 'started', NOW, 'home', ARGV[11], 'process', ARGV[9],
    'born', NOW - ARGV[10])
end
if ARGV[7] == '1' then
  for _, other in ipairs(redis.call('SMEMBERS', G .. 'sess')) do
    local of = redis.call('HMGET', G .. 's:' .. other, 'instance', 'home')
    if other ~= s and of[1] == ARGV[4] and (of[2] or '') == ARGV[11] then
      redis.call('HSET', G .. 's:' .. other, 'adopted', '1')
    end
  end
end
redis.call('HSET', k, 'epoch', ARGV[5], 'unrecorded', ARGV[6], 'seen', NOW)
-- It never goes back but when data is lost: calls may come late, and clocks be set.
if NOW > tonumber(redis.call('GET', G .. 'tick') or 0) then redis.call('SET', G .. 'tick', NOW) end
local beat = redis.call('HINCRBY', k, 'beat', 1)
-- The answer that says so may be lost too: it is said until another number comes back.
local lost = beat <= tonumber(ARGV[8]) or tonumber(redis.call('HGET', k, 'lost') or -1) >= tonumber(ARGV[8])
if lost then
  beat = math.max(beat, ARGV[8] + 1)
  redis.call('HSET', k, 'beat', beat, 'lost', ARGV[8])
end
local r = redis.call('HMGET', G .. 'route', 'epoch', 'main', 'state', 'hold', 'sync', 'uploads', 'run')
return {'OK', tostring(NOW), r[1] or '', r[2] or '', r[3] or '', r[4] or '', r[5] or '', r[6] or '', r[7] or '',
  tostring(beat), lost and '1' or ''}
