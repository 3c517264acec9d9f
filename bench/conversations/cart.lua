-- A guest starts a cart: an anonymous token, then a cart with its first line. The input line is the GraphQL request.
thread_counts = true
local token

function request()
  if token then return json("/graphql", token, lines[1]) end
  return json("/signin", nil, '{"scope":"public"}')
end

function response(status, headers, body)
  if token then
    if body:find('"success":true', 1, true) then finished = finished + 1 else failed = failed + 1 end
    token = nil
  else
    token = body:match('"authorization":"([^"]+)"')
    if not token then failed = failed + 1 end
  end
end
