-- Record replays a write that was forwarded without an intent, to the store that
-- was main then. Returns {"OK", sequence}, {"OVERTAKEN", sequence} when the other store has the newest
-- version by now, or {"FENCED"}.
-- ARGV: now, session, store, bucket, key.
if redis.call('EXISTS', P .. 'dead:' .. ARGV[2]) == 1 then return {'FENCED'} end
local r = load(ARGV[4], ARGV[5])
touch(r)
save(r)
enqueue(r, NOW)
return {r.n == ARGV[3] and 'OK' or 'OVERTAKEN', tostring(told(ARGV[2]))}
