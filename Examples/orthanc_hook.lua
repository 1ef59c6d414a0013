-- Gives every series that has arrived whole at an Orthanc server to a folder that "superres3d batch --watch" watches.  See docs/batch.md.
--
-- In Orthanc's settings: "LuaScripts" : [ "/etc/orthanc/orthanc_hook.lua" ].  The folder is named by the environment variable SUPERRES3D_WATCHED, or here:
local folder = os.getenv("SUPERRES3D_WATCHED") or "/var/spool/superres3d/in"

-- Orthanc calls this once nothing of a series has come for "StableAge" seconds.  seriesId is Orthanc's own: digits, letters a to f and hyphens.
function OnStableSeries(seriesId, tags, metadata)
   if tags["Manufacturer"] == "SuperResolution3D" then
      return  -- a result on its way back
   end

   -- A hidden folder is not looked into, so the series appears whole.
   local hidden, final = folder .. "/.arriving-" .. seriesId, folder .. "/" .. seriesId
   os.execute("rm -rf '" .. hidden .. "' && mkdir -p '" .. hidden .. "'")
   local instances = ParseJson(RestApiGet("/series/" .. seriesId))["Instances"]
   for number, instance in pairs(instances) do
      local file = assert(io.open(hidden .. "/" .. number .. ".dcm", "wb"))
      file:write(RestApiGet("/instances/" .. instance .. "/file"))
      file:close()
   end
   os.execute("rm -rf '" .. final .. "' && mv '" .. hidden .. "' '" .. final .. "'")
end
