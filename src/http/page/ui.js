// The visible page. It has no network access: room.js calls it, and registers handlers for its buttons.

import { Meter, devices, speakerPossible } from './sound.js';
import * as strings from './strings.js';

const SECTIONS = ['starting', 'name-step', 'mic-step', 'room', 'ended'];
const NOTICE_MS = 5_000;
const MAX_NOTICES = 2;
const SPEAKING = 0.25;

const $ = (id) => document.getElementById(id);
const people = new Map(); // id → {item, audio, meter, name, state}
const statuses = new Map(); // id → {away, hand, muted}
const volumes = new Map(); // kept while a participant is absent
const ownMeters = [$('mic-meter'), $('settings-meter')];
let me;
let ownMeter;
let speaker = '';
let othersAreKnown = false; // whether the list came from the server, not only from messages

/** Shows one section and puts the focus on its heading, so that a screen reader reads it. */
export function show(section) {
  for (const id of SECTIONS) $(id).hidden = id !== section;
  $('controls').hidden = section !== 'room';
  if (section !== 'room') link('');
  $('news').replaceChildren();
  $(section).querySelector('h1').focus();
}

/** Sets a text (see `naming` in strings.js), or hides its place when there is none. */
export function say(id, text) {
  const place = $(id);
  const written = plain(text);
  place.hidden = !written;
  // A screen reader would read an unchanged text again.
  if (place.textContent !== written) fill(place, text);
}

const plain = (text) => [text].flat().map((part) => part.name ?? part).join('');

function fill(place, text) {
  const nodes = [text].flat().map((part) => {
    if (part.name === undefined) return part;
    const name = document.createElement('bdi');
    name.textContent = part.name;
    return name;
  });
  place.replaceChildren(...nodes);
}

/** A name in plain text: U+2068 and U+2069 isolate its direction. */
const isolated = (name) => `\u2068${name}\u2069`;

/** The state of the connection to the server; empty if it works. */
export const link = (text) => say('link', text);

/** Shows a notice for a few seconds, such as that a participant joined. */
export function news(text) {
  const line = document.createElement('p');
  fill(line, text);
  $('news').append(line);
  if ($('news').childElementCount > MAX_NOTICES) $('news').firstElementChild.remove();
  setTimeout(() => line.remove(), NOTICE_MS);
}

export function on(id, event, handler) {
  $(id).addEventListener(event, handler);
}

/** Runs a slow action of a button and disables the button meanwhile. */
export async function busy(button, work) {
  button.disabled = true;
  try {
    return await work();
  } finally {
    button.disabled = false;
    // A disabled button loses the focus. It gets it back, unless another section has it by now.
    if (document.activeElement === document.body) button.focus();
  }
}

// ---- before and after the room ----

/** @param room  the result of `preview` in api.js */
export function askName(name, { name: title, participants, connected }) {
  $('invited-to').textContent = title;
  const names = participants.map((one) => one.display_name);
  say('present', strings.present(names, connected));
  nameProblem('');
  show('name-step');
  $('name').value = name;
  $('name').focus();
}

export function nameProblem(text) {
  say('name-problem', text);
  if (text) $('name').focus();
}

/** The microphone step: `hint` while waiting, `problem` after an error, neither if the microphone works. */
export function microphoneStep({ hint = '', problem = '', retry = true }) {
  if ($('mic-step').hidden) show('mic-step');
  const works = !hint && !problem;
  say('mic-hint', works ? 'Say something. The bar moves when the microphone works.' : hint);
  say('mic-problem', problem);
  $('mic-check').hidden = !works;
  $('enter').hidden = !works;
  $('mic-retry').hidden = !problem || !retry;
  $('listen').hidden = !problem;
  if (works) $('enter').focus();
  else if (problem) $(retry ? 'mic-retry' : 'listen').focus();
}

export function ended({ title, text, again = '' }) {
  $('ended-title').textContent = title;
  say('ended-text', text);
  say('again', again);
  show('ended');
}

// ---- the room ----

/** Shows the room with only the user in it. */
export function enterRoom(title, id, name) {
  clear();
  me = id;
  othersAreKnown = false;
  $('room-title').textContent = title;
  add(id, name);
  state(id, 'connected');
  say('room-problem', '');
  show('room');
}

/** Adds a participant, or changes the name of one. */
export function add(id, name) {
  const person = people.get(id) ?? create(id);
  person.name = name;
  person.item.querySelector('.name bdi').textContent = name;
  person.item.querySelector('.initials').textContent = initials(name);
  person.item.querySelector('input').setAttribute('aria-label', `Volume of ${isolated(name)}`);
  counted();
}

export function remove(id) {
  const person = people.get(id);
  if (!person) return;
  person.meter?.close();
  person.audio.srcObject = null;
  person.item.remove();
  people.delete(id);
  statuses.delete(id);
  counted();
}

/** Removes all other participants. */
export function removeOthers() {
  for (const id of [...people.keys()]) if (id !== me) remove(id);
}

/** Shows the state of the connection to a participant. */
export function state(id, state) {
  const person = people.get(id);
  if (!person) return;
  person.state = state;
  person.item.classList.toggle('connected', state === 'connected');
  describe(id, person);
}

/** Sets whether another participant is without a server (`away`), has raised a hand, or is muted. */
export function status(id, status) {
  statuses.set(id, status);
  const person = people.get(id);
  if (person) describe(id, person);
}

/** Says what is wrong with the connection of a participant, or nothing. */
export function quality(id, text) {
  const place = people.get(id)?.item.querySelector('.quality');
  if (place && place.textContent !== text) place.textContent = text;
}

function describe(id, { item, state }) {
  if (id === me) return;
  const status = statuses.get(id) ?? {};
  for (const name of ['away', 'hand', 'muted']) item.classList.toggle(name, status[name] === true);
  item.querySelector('.state').textContent = strings.state(state, status);
}

/** Plays a participant's audio and measures its level. */
export function voice(id, track) {
  const person = people.get(id);
  if (!person) return;
  person.meter?.close();
  person.meter = new Meter(track);
  person.audio.srcObject = new MediaStream([track]);
  if (speaker) person.audio.setSinkId(speaker).catch(() => {});
  person.audio.play().catch((error) => {
    // Only blocked playback needs a click; a stream that is replaced while it starts does not.
    if (error.name === 'NotAllowedError') $('sound-on').hidden = false;
  });
}

/** Plays all audio that the browser has blocked; called from a click. */
export function playAll() {
  $('sound-on').hidden = true;
  for (const { audio } of people.values()) if (audio.srcObject) audio.play().catch(() => {});
}

/** Sets the user's own track for the level meters; null if there is none. */
export function ownVoice(track) {
  ownMeter?.close();
  ownMeter = track ? new Meter(track) : undefined;
}

/**
 * Shows the user's own state: `listening` without a microphone, `muted` with a silent one or without, `byModerator` if
 * a moderator asked for that, and `handRaised`.
 */
export function ownState(state) {
  $('mute').setAttribute('aria-pressed', String(state.muted));
  $('hand').setAttribute('aria-pressed', String(state.handRaised));
  const own = people.get(me);
  if (!own) return;
  own.item.classList.toggle('muted', state.muted);
  own.item.classList.toggle('hand', state.handRaised);
  own.item.querySelector('.state').textContent = strings.ownState(state);
}

/** Whether the user can raise a hand. */
export function handPossible(possible) {
  $('hand').hidden = !possible;
}

function create(id) {
  const item = $('person').content.cloneNode(true).firstElementChild;
  const person = { item, audio: item.querySelector('audio') };
  item.classList.toggle('me', id === me);
  item.querySelector('.avatar').classList.add(`hue-${hue(id)}`);
  volume(id, item, person.audio);
  $('people').append(item);
  people.set(id, person);
  describe(id, person);
  return person;
}

function volume(id, item, audio) {
  const slider = item.querySelector('.volume input');
  slider.value = volumes.get(id) ?? 100;
  audio.volume = slider.value / 100;
  slider.addEventListener('input', () => {
    volumes.set(id, slider.value);
    audio.volume = slider.value / 100;
  });
  // On iPhones a page cannot set the volume of an element; only the keys of the phone can.
  audio.volume = 0.5;
  const settable = audio.volume === 0.5;
  audio.volume = slider.value / 100;
  item.querySelector('.volume').hidden = id === me || !settable;
}

function clear() {
  for (const id of [...people.keys()]) remove(id);
}

/** Whether the list of people is the server's: without it the page cannot know that the user is alone. */
export function othersKnown(known) {
  othersAreKnown = known;
  counted();
}

function counted() {
  const title = isolated($('room-title').textContent);
  $('count').textContent = strings.count(people.size);
  $('alone').hidden = people.size > 1 || !othersAreKnown;
  document.title = `${people.size > 1 ? `(${people.size}) ` : ''}${title} · parlor`;
}

function initials(name) {
  const parts = name.trim().split(/\s+/u).filter(Boolean);
  const ends = parts.length > 1 ? [parts[0], parts.at(-1)] : parts;
  return ends.map((part) => Array.from(part)[0].toLocaleUpperCase()).join('');
}

/** A participant has the same colour on every page. */
function hue(id) {
  let sum = 0;
  for (const character of id) sum = (sum * 31 + character.codePointAt(0)) % 65521;
  return sum % 8;
}

/** Updates rings and level bars with each frame (never in a hidden tab). */
function draw() {
  const own = ownMeter?.level() ?? 0;
  for (const bar of ownMeters) bar.style.setProperty('--level', own);
  for (const [id, { item, meter }] of people) {
    const level = id === me ? own : (meter?.level() ?? 0);
    item.style.setProperty('--level', level.toFixed(2));
    item.classList.toggle('speaking', level > SPEAKING);
  }
  requestAnimationFrame(draw);
}
requestAnimationFrame(draw);

// ---- devices ----

/** Refills the lists of devices. */
export async function listDevices(microphone) {
  $('output').hidden = !speakerPossible();
  for (const list of document.querySelectorAll('select[data-devices]')) {
    const found = await devices(list.dataset.devices);
    const chosen = list.dataset.devices === 'audioinput' ? microphone : speaker;
    list.replaceChildren(...found.map(({ id, name }) => new Option(name, id, false, id === chosen)));
  }
}

/** Plays all participants through another speaker. */
export async function chooseSpeaker(id) {
  speaker = id;
  await Promise.all([...people.values()].map(({ audio }) => audio.setSinkId(id)));
}

/** Shows whether little data is sent in silence. */
export function showSaving(on) {
  $('save-data').checked = on;
}

export const settings = $('settings');
