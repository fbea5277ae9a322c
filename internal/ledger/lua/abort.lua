-- Abort drops an intent whose write did not take place.
-- ARGV: now, session, id, store, bucket, key. Returns 1 if the intent was open.
local session, id, x = ARGV[2], ARGV[3], ARGV[4]
local had = redis.call('HDEL', P .. 'i:' .. session, id)
if had == 1 then
  redis.call('ZREM', P .. 'doubt', session .. '\0' .. id)
  local r = load(ARGV[5], ARGV[6])
  r['i' .. x] = math.max(0, r['i' .. x] - 1)
  redis.call('HINCRBY', P .. 'cnt', 'i' .. x, -1)
  save(r)
end
return had
