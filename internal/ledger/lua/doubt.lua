-- Doubt leaves an intent open until a time, then the sweeper settles it.
-- ARGV: now, session, id, ms to wait, bucket, key, store. If the
-- intent was not open (settled, or lost), the object is made dirty. Returns a sequence.
local session, id = ARGV[2], ARGV[3]
if redis.call('HEXISTS', P .. 'i:' .. session, id) == 1 then
  redis.call('ZADD', P .. 'doubt', NOW + tonumber(ARGV[4]), session .. '\0' .. id)
  return told(session)
end
ended(session, id)
local r = load(ARGV[5], ARGV[6])
redo(r)
save(r)
enqueue(r, NOW)
return told(session)
