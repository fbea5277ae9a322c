-- PlaceUpload remembers where a client's upload lives. ARGV: now, session that has begun it, field, store ("": where
-- the route says that uploads live). Returns 1, or 0 when the session was declared dead: a switch may have ended
-- since, and nobody has seen this upload.
if redis.call('EXISTS', P .. 'dead:' .. ARGV[2]) == 1 then return 0 end
if ARGV[4] ~= '' then redis.call('HSET', P .. 'u', ARGV[3], ARGV[4]) end
return 1
