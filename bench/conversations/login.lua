-- A native app signs in: it opens a flow, then submits it. The lines are the submitted bodies.
thread_counts = true
local turn, flow

function request()
  if not flow then return wrk.format("GET", "/self-service/login/api") end
  return json("/self-service/login?flow=" .. flow, nil, lines[turn + 1])
end

function response(status, headers, body)
  if flow then
    if body:find('"session_token":"shk_st_', 1, true) then finished = finished + 1 else failed = failed + 1 end
    flow = nil
  else
    turn = ((turn or number * 7) + 1) % #lines
    flow = body:match('"id":"([^"]+)"')
    if not flow then failed = failed + 1 end
  end
end
