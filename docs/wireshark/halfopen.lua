-- Turns the comments of halfopen's annotated captures into fields: halfopen.verdict, halfopen.reason, halfopen.rule and so on, for columns
-- and display filters. README.md beside this file says where to put it, docs/wireshark/README.md of halfopen's source has the words.

local halfopen = Proto("halfopen", "halfopen's decision")

-- What each word becomes. Words that are not here (a later version may have more) are shown as text and cannot be filtered by.
local words = {
  { "verdict",       ftypes.STRING, "Verdict" },
  { "kind",          ftypes.STRING, "Kind of packet made" },
  { "to",            ftypes.STRING, "Made for" },
  { "trigger",       ftypes.STRING, "Trigger" },
  { "reason",        ftypes.STRING, "Reason" },
  { "rule",          ftypes.STRING, "Rule" },
  { "reply",         ftypes.STRING, "Reply to the sender" },
  { "peer",          ftypes.STRING, "To the other end" },
  { "reply_omitted", ftypes.STRING, "Reply omitted" },
  { "peer_omitted",  ftypes.STRING, "To the other end, omitted" },
  { "unmet",         ftypes.STRING, "Condition not met" },
  { "stripped",      ftypes.STRING, "Lost by rewriting" },
  { "rewrite_omitted", ftypes.STRING, "Why it was not rewritten" },
  { "state",         ftypes.STRING, "State before" },
  { "state_after",   ftypes.STRING, "State after" },
  { "idle",          ftypes.DOUBLE, "Idle, seconds" },
  { "defect",        ftypes.STRING, "Defect" },
  { "checksum",      ftypes.STRING, "Checksum" },
  { "tombstone",     ftypes.UINT64, "Flow forgotten earlier on these ports" },
  { "tombstone_why", ftypes.STRING, "Why it was forgotten" },
  { "forgotten",     ftypes.DOUBLE, "Forgotten, seconds ago" },
  { "would",         ftypes.STRING, "The other policy's verdict" },
  { "would_reason",  ftypes.STRING, "The other policy's reason" },
  { "would_rule",    ftypes.STRING, "The other policy's rule" },
  { "would_reply",   ftypes.STRING, "The other policy's reply" },
  { "would_peer",    ftypes.STRING, "The other policy's packet to the other end" },
  { "would_stripped", ftypes.STRING, "The other policy would take" },
  { "diverged",      ftypes.STRING, "The other policy had parted before" },
  { "flow",          ftypes.UINT64, "Flow" },
  { "direction",     ftypes.STRING, "Direction" },
  { "in",            ftypes.STRING, "Interface in" },
  { "out",           ftypes.STRING, "Interface out" },
  { "pcap_cnt",      ftypes.UINT64, "Frame of the capture replayed" },
  { "error",         ftypes.STRING, "Not sent" },
  { "settles",       ftypes.STRING, "Hold that this ends" },
  { "cause",         ftypes.STRING, "Decision that made it" },
  { "id",            ftypes.STRING, "Id" },
}

local fields = {}
local types = {}
for _, w in ipairs(words) do
  fields[w[1]] = ProtoField.new(w[3], "halfopen." .. w[1], w[2])
  types[w[1]] = w[2]
end
fields.other = ProtoField.new("Word of a later version", "halfopen.other", ftypes.STRING)
fields.policy_rev = ProtoField.new("Policy revision", "halfopen.policy_rev", ftypes.STRING)
halfopen.fields = fields

local comment = Field.new("frame.comment")
local description = Field.new("frame.interface_description")

-- A value in quotes is escaped as Go does. Only what is common in them is turned back.
local escapes = { n = "\n", t = "\t", r = "\r" }
local function unquote(s)
  return (s:gsub("\\(.)", function(c) return escapes[c] or c end))
end

-- Calls visit(key, value) for each word of a line.
local function each_word(line, visit)
  local at = 1
  while at <= #line do
    local from, to, key = line:find("^%s*([%w_]+)=", at)
    if not from then -- a word without a value: on to the next
      local _, past = line:find("^%s*%S+", at)
      if not past then return end
      at = past + 1
    elseif line:sub(to + 1, to + 1) == '"' then
      local stop = to + 2
      while stop <= #line and line:sub(stop, stop) ~= '"' do
        if line:sub(stop, stop) == "\\" then stop = stop + 1 end
        stop = stop + 1
      end
      visit(key, unquote(line:sub(to + 2, stop - 1)))
      at = stop + 1
    else
      local _, past, value = line:find("^(%S*)", to + 1)
      visit(key, value)
      at = past + 1
    end
  end
end

local function add(tree, key, value)
  local typ = types[key]
  if typ == nil then
    tree:add(fields.other, key .. "=" .. value):set_generated()
  elseif typ == ftypes.DOUBLE then
    local seconds = tonumber((value:gsub("s$", "")))
    if seconds then tree:add(fields[key], seconds):set_generated() end
  elseif typ == ftypes.UINT64 then
    if value:find("^%d+$") then tree:add(fields[key], UInt64.new(value)):set_generated() end
  else
    tree:add(fields[key], value):set_generated()
  end
end

function halfopen.dissector(buffer, pinfo, root)
  for _, c in ipairs({ comment() }) do
    local verdict, rest = tostring(c.value):match("^halfopen ([%w_-]+)(.*)$")
    if verdict then
      local tree = root:add(halfopen, buffer(0, 0), "halfopen: " .. verdict)
      tree:set_generated()
      add(tree, "verdict", verdict)
      each_word(rest, function(key, value)
        add(tree, key, value)
        if key == "reason" then tree:append_text("/" .. value) end
      end)
      local d = description()
      if d then
        each_word(tostring(d.value), function(key, value)
          if key == "policy_rev" then tree:add(fields.policy_rev, value):set_generated() end
        end)
      end
    end
  end
end

register_postdissector(halfopen)
