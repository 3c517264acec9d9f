-- Refreshing: each connection has a token of its own and continues with its successor. The lines are the first tokens.
thread_counts = true
local token

function request()
  token = token or lines[number % #lines + 1]
  return json("/signin", token, '{"type":"refresh"}')
end

function response(status, headers, body)
  local successor = body:match('"authorization":"([^"]+)"')
  if successor and successor ~= token then finished = finished + 1 else failed = failed + 1 end
  token = successor
end
