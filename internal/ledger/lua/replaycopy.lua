-- ReplayCopy tells again of what a worker's copies have put on a store of late, or may have.
-- ARGV: now, id of the loss, store, bucket, key, ETags with blanks between.
-- Returns 1, or 0 when it says nothing, or comes too late.
if loss[3] ~= ARGV[2] or ARGV[3] ~= MAIN then return 0 end
local id = member(ARGV[4], ARGV[5])
redis.call('HSET', P .. 'put', id, (redis.call('HGET', P .. 'put', id) or '') .. ' ' .. ARGV[6])
return 1
