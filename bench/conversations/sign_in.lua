-- Signing in at the storefront, each time as the next customer. The lines are the bodies of the requests.
thread_counts = true
local turn

function request()
  turn = ((turn or number * 7) + 1) % #lines
  return json("/signin", nil, lines[turn + 1])
end

function response(status, headers, body)
  if body:find('"authorization":"shk_st_', 1, true) then finished = finished + 1 else failed = failed + 1 end
end
