-- Vouch says whether the last thing that a session was told here is still known.
-- ARGV: now, session, sequence of that thing, id of a loss if there is none yet.
-- Returns {id of the loss, its state}; "" = none.
local mine = tonumber(ARGV[3])
if mine > tonumber(redis.call('HGET', P .. 'wit', ARGV[2]) or 0) then
  redis.call('HSET', P .. 'wit', ARGV[2], ARGV[3]) -- told once
  if LOSS == 'suspect' then
    redis.call('HSET', P .. 'loss', 'state', 'replay')
    LOSS = 'replay'
  elseif LOSS ~= 'replay' then
    local seq = math.max(tonumber(redis.call('GET', P .. 'seq') or 0) + 1, NOW * 32)
    redis.call('SET', P .. 'seq', seq)
    redis.call('HSET', P .. 'loss', 'id', ARGV[4], 'state', 'replay', 'at', NOW, 'base', seq)
    redis.call('DEL', P .. 'vouched', P .. 'replayed')
    return {ARGV[4], 'replay'}
  end
end
if LOSS == '' then return {'', ''} end
redis.call('HSET', P .. 'vouched', ARGV[2], loss[3])
return {loss[3], LOSS}
