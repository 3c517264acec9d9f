-- The same request, each time with the next of the given tokens.
local turn = 0

function request()
  turn = turn % #lines + 1
  wrk.headers["authorization"] = "Bearer " .. lines[turn]
  return wrk.format()
end
