-- SetRoute puts a route in force on this shard, unless a newer one is.
-- ARGV: now, epoch, main, state, hold, sync, uploads, run, ms for which writes are held at most. Returns the epoch in force.
if not EPOCH then
  -- Sequences outgrow those of an earlier ledger that was lost.
  redis.call('SET', P .. 'seq', math.max(tonumber(redis.call('GET', P .. 'seq') or 0), NOW * 32))
end
if EPOCH and tonumber(EPOCH) > tonumber(ARGV[2]) then return EPOCH end
-- An epoch has one meaning.
if EPOCH == ARGV[2] and (MAIN ~= ARGV[3] or route[3] ~= ARGV[4]) then return -1 end
-- A switch that is turned back while a loss is not healed: main has taken writes only since now.
if EPOCH and MAIN ~= ARGV[3] and LOSS ~= '' then redis.call('HSET', P .. 'loss', 'flip', NOW) end
-- Nobody could tell a ledger that had gone back to before the switch what the new main has taken.
if LOSS == 'replay' and ARGV[4] == 'Switched' and route[3] ~= 'Switched' then
  redis.call('HSET', P .. 'loss', 'id', loss[3] .. '/' .. ARGV[2])
  redis.call('DEL', P .. 'replayed')
end
if ARGV[4] == 'Steady' then redis.call('DEL', P .. 'ulost') end
if ARGV[5] ~= '1' then
  redis.call('HDEL', P .. 'route', 'held')
elseif route[4] ~= '1' then
  redis.call('HSET', P .. 'route', 'held', NOW + ARGV[9])
end
-- What begins from now on places each upload that it creates, see unplaced.lua.
if ARGV[4] == 'Switched' and route[3] ~= 'Switched' then redis.call('HSET', P .. 'route', 'since', next_seq()) end
redis.call('HSET', P .. 'route', 'epoch', ARGV[2], 'main', ARGV[3], 'state', ARGV[4], 'hold', ARGV[5],
  'sync', ARGV[6], 'uploads', ARGV[7], 'run', ARGV[8])
return ARGV[2]
