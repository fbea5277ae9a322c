-- Lookup says which store holds the newest version.
-- ARGV: now, bucket, key. Returns {store, known, epoch, main, state, hold, sync, uploads, run}.
local n = redis.call('HGET', P .. 'o:' .. member(ARGV[2], ARGV[3]), 'n')
return {n or MAIN, n and '1' or '0', EPOCH, MAIN, route[3], route[4], route[5], route[6], route[7]}
