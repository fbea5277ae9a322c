-- ReplayCopy tells again of what a worker's copies have put on a store of late, or may have.
-- ARGV: now, id of the loss, store, bucket, key, ETags with blanks between.
-- Returns 1, or 0 when it says nothing, or comes too late.
if loss[3] ~= ARGV[2] then return 0 end
local id = ARGV[3] .. member(ARGV[4], ARGV[5])
local list = redis.call('HGET', P .. 'put', id) or ' '
for etag in string.gmatch(ARGV[6], '%S+') do
  if not string.find(list, ' ' .. etag .. ' ', 1, true) then list = list .. etag .. ' ' end
end
redis.call('HSET', P .. 'put', id, list)
return 1
