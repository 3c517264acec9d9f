-- What every script shares: its input lines, and the figures at the end.
-- A conversation counts in `finished`; its thread has one connection, whose state it keeps.
finished, failed = 0, 0
local threads = {}

function setup(thread)
  thread:set("number", #threads)
  table.insert(threads, thread)
end

function init(arguments)
  lines = {}
  for line in io.lines(arguments[1]) do table.insert(lines, line) end
end

function json(path, token, body)
  local headers = {["content-type"] = "application/json"}
  if token then headers["authorization"] = "Bearer " .. token end
  return wrk.format("POST", path, headers, body)
end

function done(summary, latency)
  local count, bad = 0, summary.errors.status + summary.errors.connect + summary.errors.read + summary.errors.timeout
  for _, thread in ipairs(threads) do
    count, bad = count + thread:get("finished"), bad + thread:get("failed")
  end
  if not thread_counts then count = summary.requests end
  io.write(string.format('FIGURES {"per_second": %f, "p50": %f, "p99": %f, "failed": %d}',
    count / (summary.duration / 1e6), latency:percentile(50) / 1000, latency:percentile(99) / 1000, bad))
end
