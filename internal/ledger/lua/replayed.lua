-- Replayed says that a session has told everything that it did of late. Other
-- intents of its own that are open here came back with older data: nobody would
-- end them.
-- ARGV: now, session, id of the loss, ms to wait, then the ids of its open intents.
-- Returns a sequence; 0 when there is another loss by now.
if loss[3] ~= ARGV[3] then return 0 end
local open = {}
for i = 5, #ARGV do open[ARGV[i]] = true end
for _, id in ipairs(redis.call('HKEYS', P .. 'i:' .. ARGV[2])) do
  if not open[id] then redis.call('ZADD', P .. 'doubt', 'NX', NOW + tonumber(ARGV[4]), ARGV[2] .. '\0' .. id) end
end
redis.call('HSET', P .. 'replayed', ARGV[2], ARGV[3])
-- A Begin that was sent before and comes after this may have been aborted: that was
-- noted, and lost.
local seq = told(ARGV[2])
if redis.call('EXISTS', P .. 'dead:' .. ARGV[2]) == 0 then redis.call('HSET', P .. 'floor', ARGV[2], seq) end
return seq
