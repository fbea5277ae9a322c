-- Orphans registers sessions that shards know and nobody else: a loss of data brought
-- back what they had left, or took away that they exist. Those that live say so
-- soon; the others are buried. ARGV: now, sessions ... Returns how many were not known.
local n = 0
for i = 2, #ARGV do
  if known(ARGV[i]) then n = n + 1 end
end
return n
