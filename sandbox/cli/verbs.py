"""The table of verbs: name and summary, so that neither help nor completion imports a verb."""

VERBS = {
    "run": "Run a command in the sandbox that a profile describes.",
    "exec": "Run another program in a live sandbox.",
    "init": "Write a first profile for a program.",
    "check": "Say everything that is wrong with profiles.",
    "profiles": "List the profiles that come with sbx.",
    "schema": "Print the JSON Schema of profiles, for editors.",
    "show": "Print a profile as it takes effect, with the origin of each rule.",
    "plan": "Print what a launch would do, step by step.",
    "ps": "List live sandboxes.",
    "inspect": "Print everything that is known of a live sandbox.",
    "verify": "Compare a live sandbox with what its plan promised.",
    "logs": "Print what a service has written.",
    "events": "Print what befalls sandboxes.",
    "stop": "Ask live sandboxes to end, and kill what doesn't.",
    "kill": "Send a signal to live sandboxes, by default SIGKILL.",
    "wait": "Wait until live sandboxes have ended.",
    "pause": "Let all processes of live sandboxes stand still.",
    "resume": "Let paused sandboxes go on.",
    "stats": "Tell what live sandboxes use.",
    "top": "Show live sandboxes on a full screen.",
    "gc": "Remove what killed supervisors have left.",
    "adopt": "Take over a live sandbox that has lost its supervisor.",
    "doctor": "Say what this host can and cannot enforce, and how to mend it.",
    "systemd": "Make a service of systemd from a profile.",
    "completion": "Print the completion script of a shell.",
}

# What sbx itself turns to Python for; nobody types these.
INTERNAL = {"_failure": "failure", "_ended": "ended", "_timing": "timing", "_prepare": "prepare"}
