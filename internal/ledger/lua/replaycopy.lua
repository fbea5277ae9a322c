-- ReplayCopy tells again of what a worker's copies have put on a store of late, or may have.
-- ARGV: now, store, bucket, key, ETags with blanks between.
if ARGV[2] ~= MAIN then return 0 end
local id = member(ARGV[3], ARGV[4])
redis.call('HSET', P .. 'put', id, (redis.call('HGET', P .. 'put', id) or '') .. ' ' .. ARGV[5])
return 1
