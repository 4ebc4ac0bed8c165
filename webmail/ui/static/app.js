// What makes the webmail quicker for those with JavaScript. Everything works without it.
"use strict";
(() => {
  // The reader's time zone, so that the server writes times in it.
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  if (zone && !document.cookie.split("; ").includes("tz=" + zone)) {
    document.cookie = "tz=" + zone + "; path=/; max-age=31536000; SameSite=Lax" + (location.protocol === "https:" ? "; Secure" : "");
  }
})();
