//! Headless Firefox with one tab, driven over WebDriver BiDi: JSON over a WebSocket to the browser itself
//! (<https://w3c.github.io/webdriver-bidi/>), without geckodriver.

use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::stream::MaybeTlsStream;
use tokio_tungstenite::tungstenite::{Message, WebSocket, connect};

use crate::support::browser::{TIMEOUT, until_true};

/// The frequency in hertz of the tone that Firefox's fake microphone plays.
pub(crate) const TONE: u32 = 1000;

/// Text that Firefox prints before the address of its WebSocket.
const LISTENING: &str = "WebDriver BiDi listening on ";

/// One browser process with one tab. Dropping it ends the process.
pub(crate) struct Firefox {
    process: Child,
    socket: WebSocket<MaybeTlsStream<TcpStream>>,
    context: String,
    last_id: u64,
}

impl Firefox {
    /// Starts Firefox with a profile inside `folder` and opens `url`. `prelude` runs before any
    /// script of the page.
    pub(crate) fn open(url: &str, prelude: &str, folder: &Path) -> Firefox {
        Firefox::open_with(&[], url, prelude, folder)
    }

    /// Starts Firefox with more preferences: names, and values as in `user.js`.
    pub(crate) fn open_with(
        more: &[(&str, &str)],
        url: &str,
        prelude: &str,
        folder: &Path,
    ) -> Firefox {
        let profile = folder.join("firefox");
        std::fs::create_dir_all(&profile).expect("a folder for the profile");
        let preferences = preferences(PREFERENCES) + &preferences(more);
        std::fs::write(profile.join("user.js"), preferences).expect("the preferences");
        let mut process = Command::new(find_firefox())
            .args(["--headless", "--no-remote", "--remote-debugging-port", "0"])
            .arg("--profile")
            .arg(&profile)
            .env("HOME", &profile)
            .env("PULSE_RUNTIME_PATH", &profile)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("Firefox starts");
        let mut lines = BufReader::new(process.stderr.take().expect("stderr is piped")).lines();
        let mut printed = lines.by_ref().map_while(Result::ok);
        let address = printed.find_map(|line| Some(line.strip_prefix(LISTENING)?.to_owned()));
        // Firefox blocks if its output is not read.
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
        let address = address.expect("Firefox says where it listens for WebDriver BiDi");
        let (socket, _) = connect(format!("{address}/session")).expect("a WebSocket to Firefox");
        if let MaybeTlsStream::Plain(stream) = socket.get_ref() {
            stream.set_read_timeout(Some(TIMEOUT)).expect("a timeout");
        }
        let mut firefox = Firefox {
            process,
            socket,
            context: String::new(),
            last_id: 0,
        };
        firefox.tell("session.new", json!({"capabilities": {}}));
        let tree = firefox.tell("browsingContext.getTree", json!({}));
        let context = tree["contexts"][0]["context"].as_str();
        firefox.context = context.expect("a tab").to_owned();
        let function = format!("() => {{ {prelude} }}");
        let script = json!({"functionDeclaration": function});
        firefox.tell("script.addPreloadScript", script);
        let page = json!({"context": firefox.context, "url": url, "wait": "complete"});
        firefox.tell("browsingContext.navigate", page);
        firefox
    }

    /// Enters a name and joins the room.
    pub(crate) fn enters_as(&mut self, name: &str) {
        let type_name = "(() => { const e = document.querySelector('#name'); \
             return e.checkVisibility() && ((e.value = $NAME), true); })()";
        let name = json!(name).to_string();
        self.wait("to be asked for a name", &type_name.replace("$NAME", &name));
        self.click("#name-form button");
        self.click("#enter");
    }

    /// Waits until this tone arrives on the only connection.
    pub(crate) fn hears(&mut self, tone: u32) {
        let heard = format!("({HEARD})().then((heard) => Math.abs(heard - {tone}) < 12)");
        self.wait(&format!("to hear {tone} Hz"), &heard);
    }

    /// Waits until an element can be seen, and clicks it.
    pub(crate) fn click(&mut self, selector: &str) {
        let click = format!(
            "(() => {{ const e = document.querySelector({selector:?}); \
               return e?.checkVisibility() && !e.disabled && (e.click(), true); }})()"
        );
        self.wait(&format!("{selector} to click"), &click);
    }

    /// Waits until the expression is truthy, and returns its value.
    pub(crate) fn wait(&mut self, what: &str, expression: &str) -> Value {
        let found = until_true(|| self.evaluate(expression));
        found.unwrap_or_else(|answer| {
            let text = self.evaluate("document.body.innerText");
            panic!(
                "Firefox timed out waiting for: {what}\n  last answer: {answer:?}\n  page: {text:?}"
            )
        })
    }

    /// The value of a JavaScript expression; a promise is awaited. An exception is an `Err`.
    pub(crate) fn evaluate(&mut self, expression: &str) -> Result<Value, String> {
        // BiDi has its own notation for values; JSON inside a string avoids it.
        let expression = format!("(async () => JSON.stringify((await ({expression})) ?? null))()");
        let params = json!({
            "expression": expression,
            "target": {"context": self.context},
            "awaitPromise": true,
            "userActivation": true,
        });
        let answer = self.command("script.evaluate", params)?;
        match answer["result"]["value"].as_str() {
            Some(text) => Ok(serde_json::from_str(text).expect("JSON.stringify makes JSON")),
            None => Err(answer["exceptionDetails"]["text"].to_string()),
        }
    }

    fn tell(&mut self, method: &str, params: Value) -> Value {
        let answer = self.command(method, params);
        answer.unwrap_or_else(|error| panic!("{method}: {error}"))
    }

    fn command(&mut self, method: &str, params: Value) -> Result<Value, String> {
        self.last_id += 1;
        let command = json!({"id": self.last_id, "method": method, "params": params});
        let sent = self.socket.send(Message::text(command.to_string()));
        sent.expect("Firefox reads commands");
        loop {
            let message = self.socket.read().expect("Firefox answers in time");
            let text = message.into_text().expect("BiDi speaks text");
            let mut message: Value = serde_json::from_str(&text).expect("BiDi speaks JSON");
            if message["id"] != self.last_id {
                continue; // an event
            }
            return match message["type"].as_str() {
                Some("success") => Ok(message["result"].take()),
                _ => Err(message["message"].to_string()),
            };
        }
    }
}

impl Drop for Firefox {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The frequency of the received tone in hertz, from the zero crossings of half a second. Without a sound
/// device Firefox keeps every `AudioContext` suspended; a recorder does not need one.
const HEARD: &str = r"async () => {
  const recorder = new MediaRecorder(new MediaStream([test.open()[0].getReceivers()[0].track]));
  const recorded = new Promise((resolve) => (recorder.ondataavailable = ({ data }) => resolve(data)));
  recorder.start();
  await new Promise((resolve) => setTimeout(resolve, 600));
  recorder.stop();
  const bytes = await (await recorded).arrayBuffer();
  const sound = await new OfflineAudioContext(1, 1, 48000).decodeAudioData(bytes);
  const samples = sound.getChannelData(0).slice(-24000);
  const crossings = samples.filter((sample, n) => n > 0 && sample >= 0 !== samples[n - 1] >= 0).length;
  return (crossings / 2) * (48000 / samples.length);
}";

fn preferences(list: &[(&str, &str)]) -> String {
    list.iter()
        .map(|(name, value)| format!("user_pref(\"{name}\", {value});\n"))
        .collect()
}

const PREFERENCES: &[(&str, &str)] = &[
    ("remote.active-protocols", "1"),
    ("media.navigator.streams.fake", "true"),
    ("media.navigator.permission.disabled", "true"),
    ("media.autoplay.default", "0"),
    ("media.autoplay.blocking_policy", "0"),
    ("media.peerconnection.ice.loopback", "true"),
    ("media.peerconnection.ice.obfuscate_host_addresses", "false"),
    // No traffic of this test leaves the host.
    ("network.proxy.type", "0"),
    ("network.captive-portal-service.enabled", "false"),
    ("network.connectivity-service.enabled", "false"),
    ("services.settings.server", "\"data:,\""),
    ("app.update.disabledForTesting", "true"),
    ("datareporting.policy.dataSubmissionEnabled", "false"),
    ("media.gmp-manager.updateEnabled", "false"),
    ("browser.shell.checkDefaultBrowser", "false"),
    ("browser.startup.page", "0"),
];

/// Firefox, under one of the names that distributions use.
fn find_firefox() -> &'static str {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<_> = std::env::split_paths(&path).collect();
    let names = ["firefox-esr", "firefox"];
    let found = names
        .into_iter()
        .find(|name| folders.iter().any(|folder| folder.join(name).is_file()));
    found.expect(
        "the browser tests need Firefox, and neither `firefox-esr` nor `firefox` is on the PATH: run \
         `apt-get install firefox-esr` (./tests/run does)",
    )
}
