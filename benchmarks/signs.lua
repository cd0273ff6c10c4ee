-- Requests of wrk: words of random letters, so that hardly anything is signed twice. At the end a line of JSON.
local letters = "abcdefghijklmnopqrstuvwxyz"
local path = "/v1/signs"

function init(args)
  math.randomseed(tonumber(args[1]) or 0)
  path = args[2] or path
  steps = args[3] or "8"
end

function request()
  local word = {}
  for i = 1, math.random(3, 5) do
    local at = math.random(26)
    word[i] = letters:sub(at, at)
  end
  local body = '{"text":"' .. table.concat(word) .. '","steps":' .. steps .. '}'
  return wrk.format("POST", path, {["Content-Type"] = "application/json"}, body)
end

function done(summary, latency)
  local failed = summary.errors.status + summary.errors.timeout + summary.errors.connect + summary.errors.read
  io.write(string.format(
    '{"requests": %d, "seconds": %f, "failed": %d, "p50": %f, "p95": %f, "p99": %f}\n',
    summary.requests, summary.duration / 1e6, failed,
    latency:percentile(50) / 1000, latency:percentile(95) / 1000, latency:percentile(99) / 1000))
end
