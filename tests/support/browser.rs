//! Headless Chromium, driven over `--remote-debugging-pipe`: NUL-terminated JSON on two
//! descriptors. No port is needed, and the browser ends when the pipe closes.
//!
//! A driver crate would add 120 crates and two minutes to the build; this needs `serde_json` alone.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use base64::Engine;
use parlor::clock;
use serde_json::{Value, json};

use crate::support::hosts::{Host, SERVER};
use crate::support::namespace;

/// Limit of every wait for the browser. Generous, because CI machines are slow.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(60);

/// Behaviour of the fake microphone.
pub(crate) enum Microphone<'a> {
    /// Plays a WAV file in a loop.
    Plays(&'a Path),
    /// The user denies the permission.
    Refused,
}

/// One browser process. Dropping it ends the process.
pub(crate) struct Browser {
    process: Child,
    commands: ChildStdin,
    messages: Receiver<Value>,
    last_id: u64,
    profile: PathBuf,
}

/// One tab of a browser, named by its DevTools session.
#[derive(Clone)]
pub(crate) struct Tab {
    session: String,
}

impl Browser {
    /// Starts Chromium with a profile of its own inside `folder`.
    pub(crate) fn start(folder: &Path, name: &str, microphone: &Microphone) -> Browser {
        let shell = Command::new("sh");
        Browser::start_by(shell, folder, name, microphone, flags_in_a_namespace())
    }

    /// Starts Chromium on a host of its own, where the page of a server at `origin` may use a microphone.
    pub(crate) fn start_on(
        host: Host,
        folder: &Path,
        name: &str,
        microphone: &Microphone,
        origin: &str,
    ) -> Browser {
        let secure = format!("--unsafely-treat-insecure-origin-as-secure={origin}");
        let resolver = format!("--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE {SERVER}");
        let flags = [&secure[..], &resolver];
        Browser::start_by(host.command("sh"), folder, name, microphone, &flags)
    }

    fn start_by(
        mut shell: Command,
        folder: &Path,
        name: &str,
        microphone: &Microphone,
        flags: &[&str],
    ) -> Browser {
        let chromium = find_chromium();
        let profile = folder.join(name);
        std::fs::create_dir_all(&profile).expect("a folder for the profile");
        let mut process = shell
            .args(["-c", "exec \"$@\" 3<&0 4>&1 0</dev/null 1>&2", "sh"])
            .arg(chromium)
            .args(FLAGS)
            .args(flags)
            .args(microphone.flags())
            .args(trusted_key(folder))
            .arg(format!("--user-data-dir={}", profile.display()))
            .arg("about:blank")
            .env("HOME", &profile)
            .env("PULSE_RUNTIME_PATH", &profile)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(profile.join("stderr.txt")).expect("a log file"))
            .spawn()
            .expect("sh starts");
        let commands = process.stdin.take().expect("stdin is piped");
        let answers = process.stdout.take().expect("stdout is piped");
        let (sender, messages) = channel();
        std::thread::spawn(move || {
            for frame in BufReader::new(answers).split(0).map_while(Result::ok) {
                let message = serde_json::from_slice(&frame).expect("DevTools speaks JSON");
                if sender.send(message).is_err() {
                    break;
                }
            }
        });
        let mut browser = Browser {
            process,
            commands,
            messages,
            last_id: 0,
            profile,
        };
        if matches!(microphone, Microphone::Refused) {
            let permission = json!({"name": "microphone"});
            let denied = json!({"permission": permission, "setting": "denied"});
            browser.call(None, "Browser.setPermission", denied);
        }
        browser
    }

    /// Opens `url` in a new tab. `prelude` runs in it before any script of the page.
    pub(crate) fn open(&mut self, url: &str, prelude: &str) -> Tab {
        let target = self.call(None, "Target.createTarget", json!({"url": "about:blank"}));
        let attach = json!({"targetId": target["targetId"], "flatten": true});
        let attached = self.call(None, "Target.attachToTarget", attach);
        let session = attached["sessionId"].as_str().expect("a session id");
        let tab = Tab {
            session: session.to_owned(),
        };
        self.tell(&tab, "Page.enable", json!({}));
        self.tell(&tab, "Runtime.enable", json!({}));
        let script = json!({"source": prelude});
        self.tell(&tab, "Page.addScriptToEvaluateOnNewDocument", script);
        self.tell(&tab, "Page.navigate", json!({"url": url}));
        tab
    }

    /// Sends one DevTools command to a tab, and returns the answer.
    pub(crate) fn tell(&mut self, tab: &Tab, method: &str, params: Value) -> Value {
        self.call(Some(tab), method, params)
    }

    /// The value of a JavaScript expression; a promise is awaited. An exception is an `Err`.
    pub(crate) fn evaluate(&mut self, tab: &Tab, expression: &str) -> Result<Value, String> {
        let params = json!({
            "expression": expression,
            "awaitPromise": true,
            "returnByValue": true,
            "userGesture": true,
        });
        let mut answer = self.command(Some(tab), "Runtime.evaluate", params)?;
        match answer.get("exceptionDetails") {
            Some(details) => Err(details["exception"]["description"].to_string()),
            None => Ok(answer["result"]["value"].take()),
        }
    }

    /// Evaluates the expression until it is truthy, and returns its value. Exceptions during navigation count as
    /// "not yet".
    pub(crate) fn wait(&mut self, tab: &Tab, what: &str, expression: &str) -> Value {
        let found = until_true(|| self.evaluate(tab, expression));
        found.unwrap_or_else(|answer| {
            let text = self.evaluate(tab, "document.body.innerText");
            let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("browser.png");
            self.picture(tab, &file);
            panic!(
                "timed out waiting for: {what}
  last answer: {answer:?}
  page: {text:?}
  \
                 picture: {}",
                file.display()
            );
        })
    }

    /// Waits until an element can be seen, and clicks it.
    pub(crate) fn click(&mut self, tab: &Tab, selector: &str) {
        let find = format!(
            "(() => {{ const e = document.querySelector({selector:?}); \
               if (!e || !e.checkVisibility() || e.disabled) return false; e.click(); return true; }})()"
        );
        self.wait(tab, &format!("{selector} to click"), &find);
    }

    /// Types into an input as a person does: focus, then text.
    pub(crate) fn type_into(&mut self, tab: &Tab, selector: &str, text: &str) {
        let focus = format!(
            "(() => {{ const e = document.querySelector({selector:?}); \
               if (!e || !e.checkVisibility()) return false; e.focus(); e.select(); return true; }})()"
        );
        self.wait(tab, &format!("{selector} to type into"), &focus);
        self.tell(tab, "Input.insertText", json!({"text": text}));
    }

    /// Waits until the text that can be seen contains `words`.
    pub(crate) fn sees(&mut self, tab: &Tab, words: &str) {
        let seen = format!("document.body.innerText.includes({words:?})");
        self.wait(tab, &format!("the words {words:?}"), &seen);
    }

    /// Gives the tab a size in CSS pixels and a colour scheme, and waits until it is painted.
    pub(crate) fn resize(&mut self, tab: &Tab, (width, height): (u32, u32), scheme: &str) {
        self.tell(tab, "Page.bringToFront", json!({})); // a tab behind another is not painted
        let size = json!({"width": width, "height": height,
            "deviceScaleFactor": 2, "mobile": width < 500});
        self.tell(tab, "Emulation.setDeviceMetricsOverride", size);
        let media = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.tell(tab, "Emulation.setEmulatedMedia", media);
        let frames = "new Promise(r => requestAnimationFrame(() => requestAnimationFrame(r)))";
        self.evaluate(tab, frames).expect("frames are painted");
    }

    /// A PNG of what the tab shows.
    pub(crate) fn picture(&mut self, tab: &Tab, file: &Path) {
        let picture = self.tell(tab, "Page.captureScreenshot", json!({"format": "png"}));
        let data = picture["data"].as_str().expect("picture data");
        let bytes = base64::engine::general_purpose::STANDARD.decode(data);
        std::fs::write(file, bytes.expect("valid base64")).expect("the picture is written");
    }

    fn call(&mut self, tab: Option<&Tab>, method: &str, params: Value) -> Value {
        self.command(tab, method, params)
            .unwrap_or_else(|error| panic!("{method}: {error}"))
    }

    fn command(&mut self, tab: Option<&Tab>, method: &str, params: Value) -> Result<Value, String> {
        self.last_id += 1;
        let mut command = json!({"id": self.last_id, "method": method, "params": params});
        if let Some(tab) = tab {
            command["sessionId"] = json!(tab.session);
        }
        let mut bytes = command.to_string().into_bytes();
        bytes.push(0);
        let sent = self.commands.write_all(&bytes);
        if let Err(error) = sent.and_then(|()| self.commands.flush()) {
            panic!("Chromium is gone ({error}):\n{}", self.last_words());
        }
        loop {
            let mut message = match self.messages.recv_timeout(TIMEOUT) {
                Ok(message) => message,
                Err(RecvTimeoutError::Timeout) => return Err("no answer in time".to_owned()),
                Err(RecvTimeoutError::Disconnected) => {
                    panic!("Chromium ended:\n{}", self.last_words())
                }
            };
            if message["id"] != self.last_id {
                continue; // an event, or the answer to a command that was given up
            }
            return match message.get("error") {
                Some(error) => Err(error["message"].to_string()),
                None => Ok(message["result"].take()),
            };
        }
    }

    fn last_words(&self) -> String {
        std::fs::read_to_string(self.profile.join("stderr.txt")).unwrap_or_default()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Microphone<'_> {
    fn flags(&self) -> Vec<String> {
        let fake = "--use-fake-device-for-media-stream";
        match self {
            Microphone::Plays(file) => vec![
                format!("{fake}=device-count=1"),
                "--use-fake-ui-for-media-stream".to_owned(),
                format!("--use-file-for-fake-audio-capture={}", file.display()),
            ],
            Microphone::Refused => vec![fake.to_owned()],
        }
    }
}

const FLAGS: &[&str] = &[
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--autoplay-policy=no-user-gesture-required",
    "--disable-features=WebRtcHideLocalIpsWithMdns,MediaRouter",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    "--remote-debugging-pipe",
];

/// Where loopback is the only interface, WebRTC needs a flag to use it; elsewhere the flag would stall gathering.
fn flags_in_a_namespace() -> &'static [&'static str] {
    if namespace::has_loopback_alone() {
        &["--allow-loopback-in-peer-connection"]
    } else {
        &[]
    }
}

/// The file with the hash of a key that every browser of its folder trusts, regardless of the issuer.
pub(crate) const TRUSTED_KEY: &str = "trusted-key";

fn trusted_key(folder: &Path) -> Option<String> {
    let key = std::fs::read_to_string(folder.join(TRUSTED_KEY)).ok()?;
    Some(format!("--ignore-certificate-errors-spki-list={key}"))
}

/// Chromium, under one of the names that distributions use.
fn find_chromium() -> PathBuf {
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .flat_map(|folder| names.map(|name| folder.join(name)))
        .find(|file| file.is_file());
    found.expect(
        "the browser tests need Chromium, and none of `chromium`, `chromium-browser` and \
         `google-chrome` is on the PATH: run `apt-get install chromium` (./tests/run does)",
    )
}

/// Polls until the value is truthy; returns the last value after [`TIMEOUT`].
pub(crate) fn until_true(
    mut ask: impl FnMut() -> Result<Value, String>,
) -> Result<Value, Result<Value, String>> {
    let start = clock::now().mono;
    loop {
        let answer = ask();
        match answer {
            Ok(value) if is_truthy(&value) => return Ok(value),
            answer if clock::now().mono.since(start) > TIMEOUT => return Err(answer),
            _ => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}

fn is_truthy(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(yes) => *yes,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(_) | Value::Object(_) => true,
    }
}
