-- Replayed says that a session has told everything that it did of late, and which of its
-- intents are open. Those that were lost are open again: without them a copy would get its
-- lock, and overwrite what has landed. Others that are open here came back with older data:
-- nobody would end them.
-- ARGV: now, session, id of the loss, ms to wait, then of each open intent: id, store ("": Begin was not
-- answered), sequence, kind (see begin.lua), newest at Begin ("1"/""), bucket, key.
-- Returns a sequence; 0 when there is another loss by now.
if loss[3] ~= ARGV[3] then return 0 end
-- A call that comes late knows of intents that have ended since.
local had = tonumber(redis.call('HGET', P .. 'had', ARGV[2]) or '')
if redis.call('HGET', P .. 'replayed', ARGV[2]) == loss[3] or redis.call('EXISTS', P .. 'dead:' .. ARGV[2]) == 1 then had = nil end
local open = {}
for i = 5, #ARGV, 7 do
  local id, x = ARGV[i], ARGV[i + 1]
  open[id] = true
  if had and x ~= '' and tonumber(ARGV[i + 2]) > had and tonumber(ARGV[i + 2]) < BASE
    and redis.call('SISMEMBER', P .. 'gone:' .. ARGV[2], id) == 0 and redis.call('SISMEMBER', P .. 'ended:' .. ARGV[2], id) == 0 then
    local r = load(ARGV[i + 5], ARGV[i + 6])
    if redis.call('HSETNX', P .. 'i:' .. ARGV[2], id, x .. '|' .. ARGV[i + 2] .. '|' .. ARGV[i + 3] .. '|' .. r.id) == 1 then
      -- As it was when it began, if nobody tells of more.
      if not r.found then r.n = ARGV[i + 4] == '1' and x or OTHER[x] end
      r['i' .. x] = r['i' .. x] + 1
      if ARGV[i + 3] == '1' or ARGV[i + 3] == '3' then r['k' .. x] = r['k' .. x] + 1 end
      redis.call('HINCRBY', P .. 'cnt', 'i' .. x, 1)
      save(r)
    end
  end
end
for _, id in ipairs(redis.call('HKEYS', P .. 'i:' .. ARGV[2])) do
  if not open[id] then redis.call('ZADD', P .. 'doubt', 'NX', NOW + tonumber(ARGV[4]), ARGV[2] .. '\0' .. id) end
end
redis.call('HSET', P .. 'replayed', ARGV[2], ARGV[3])
redis.call('HDEL', P .. 'had', ARGV[2])
-- A Begin that was sent before and comes after this may have been aborted: that was
-- noted, and lost.
local seq = told(ARGV[2])
if redis.call('EXISTS', P .. 'dead:' .. ARGV[2]) == 0 then redis.call('HSET', P .. 'floor', ARGV[2], seq) end
return seq
