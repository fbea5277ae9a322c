-- CreatingUpload notes that a copy is about to create an upload of an object on a store. ARGV: now, store, bucket,
-- key, field, value. Returns 1, or 0 when a client was first: that store has the newest version, and where
-- no switch is under way any more, its uploads are clients'.
local r = load(ARGV[3], ARGV[4])
if trusted(r) and r.n == ARGV[2] then return 0 end
redis.call('HSET', P .. 'uc', ARGV[5], ARGV[6])
return 1
