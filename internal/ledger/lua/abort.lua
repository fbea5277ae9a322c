-- Abort drops an intent whose write did not take place.
-- ARGV: now, session, id, store, bucket, key. Returns 1 if the intent was open.
local r = closed(ARGV[2], ARGV[3])
if not r then return 0 end
save(r)
return 1
