-- Commit settles an intent as done. A late one, whose intent was settled by
-- somebody else, still makes the object dirty.
-- ARGV: now, session, id, store, seq, bucket, key. Returns 1 if the intent was open.
local session, id, x = ARGV[2], ARGV[3], ARGV[4]
local had = redis.call('HDEL', P .. 'i:' .. session, id)
redis.call('ZREM', P .. 'doubt', session .. '\0' .. id)
local r = load(ARGV[6], ARGV[7])
if had == 1 then
  r['i' .. x] = math.max(0, r['i' .. x] - 1)
  redis.call('HINCRBY', P .. 'cnt', 'i' .. x, -1)
end
wrote(r, x, tonumber(ARGV[5]))
return had
