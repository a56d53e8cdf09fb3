// What can be seen. It knows no network: room.js tells it what is, and is told what was pressed.

import { Meter, devices, speakerPossible } from './sound.js';
import * as strings from './strings.js';

const SECTIONS = ['starting', 'name-step', 'mic-step', 'room', 'ended'];
const NEWS_STAYS = 5_000;
const NEWS_AT_ONCE = 2;
const SPEAKING = 0.25;

const $ = (id) => document.getElementById(id);
const people = new Map(); // id → {item, audio, meter, name, state}
const mutedPeople = new Set();
const volumes = new Map(); // kept while somebody is away
const ownMeters = [$('mic-meter'), $('settings-meter')];
let me;
let ownMeter;
let speaker = '';
let othersAreKnown = false; // and not only participants who have sent us a message

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
  // The same words twice are not news to a screen reader.
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

/** How the connection to the server is; empty when all is well. */
export const link = (text) => say('link', text);

/** Comings and goings. */
export function news(text) {
  const line = document.createElement('p');
  fill(line, text);
  $('news').append(line);
  if ($('news').childElementCount > NEWS_AT_ONCE) $('news').firstElementChild.remove();
  setTimeout(() => line.remove(), NEWS_STAYS);
}

export function on(id, event, handler) {
  $(id).addEventListener(event, handler);
}

/** Runs something slow for a button, which cannot be pressed again meanwhile. */
export async function busy(button, work) {
  button.disabled = true;
  try {
    return await work();
  } finally {
    button.disabled = false;
    // A button that is disabled loses the focus; it gets it back, unless the story went on.
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

/** The microphone step: `hint` while waiting, `problem` when it failed, neither when it works. */
export function microphoneStep({ hint = '', problem = '', retry = true }) {
  if ($('mic-step').hidden) show('mic-step');
  const works = !hint && !problem;
  say('mic-hint', works ? 'Say something: the bar moves when we hear you.' : hint);
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

/** An empty room with only ourselves in it. */
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

/** Somebody is here, or has another name than we thought. */
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
  mutedPeople.delete(id);
  counted();
}

/** Everybody but ourselves. */
export function removeOthers() {
  for (const id of [...people.keys()]) if (id !== me) remove(id);
}

/** How the connection to somebody is. */
export function state(id, state) {
  const person = people.get(id);
  if (!person) return;
  person.state = state;
  person.item.classList.toggle('connected', state === 'connected');
  describe(id, person);
}

/** Sets whether another participant is muted. The participant may not be on the list yet. */
export function muted(id, muted) {
  if (muted) mutedPeople.add(id);
  else mutedPeople.delete(id);
  const person = people.get(id);
  if (person) describe(id, person);
}

function describe(id, { item, state }) {
  if (id === me) return;
  const silent = mutedPeople.has(id);
  item.classList.toggle('muted', silent);
  item.querySelector('.state').textContent = strings.peerState[state] || (silent ? 'muted' : '');
}

/** Plays and measures somebody's voice. */
export function voice(id, track) {
  const person = people.get(id);
  if (!person) return;
  person.meter?.close();
  person.meter = new Meter(track);
  person.audio.srcObject = new MediaStream([track]);
  if (speaker) person.audio.setSinkId(speaker).catch(() => {});
  person.audio.play().catch((error) => {
    // Only a refusal needs the person's help; a stream that is replaced while it starts does not.
    if (error.name === 'NotAllowedError') $('sound-on').hidden = false;
  });
}

/** Plays everything that the browser held back, now that the person has pressed something. */
export function playAll() {
  $('sound-on').hidden = true;
  for (const { audio } of people.values()) if (audio.srcObject) audio.play().catch(() => {});
}

/** Our own track, or null: for the meters. */
export function ownVoice(track) {
  ownMeter?.close();
  ownMeter = track ? new Meter(track) : undefined;
}

/** off: there is no microphone; muted: there is, but it is silent. */
export function ownState({ muted, listening }) {
  $('mute').setAttribute('aria-pressed', String(muted || listening));
  const own = people.get(me);
  own?.item.classList.toggle('muted', muted || listening);
  if (own) own.item.querySelector('.state').textContent = listening ? 'you, only listening' : muted ? 'you, muted' : 'you';
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
  // On iPhones the volume of an element is the person's alone to set, by the keys at the side.
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

/** The same person has the same colour in everybody's window. */
function hue(id) {
  let sum = 0;
  for (const character of id) sum = (sum * 31 + character.codePointAt(0)) % 65521;
  return sum % 8;
}

/** Rings and bars follow the voices, as often as the screen is drawn (never in a hidden tab). */
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

/** Fills the lists of devices anew. */
export async function listDevices(microphone) {
  $('output').hidden = !speakerPossible();
  for (const list of document.querySelectorAll('select[data-devices]')) {
    const found = await devices(list.dataset.devices);
    const chosen = list.dataset.devices === 'audioinput' ? microphone : speaker;
    list.replaceChildren(...found.map(({ id, name }) => new Option(name, id, false, id === chosen)));
  }
}

/** Plays everybody through another speaker. */
export async function chooseSpeaker(id) {
  speaker = id;
  await Promise.all([...people.values()].map(({ audio }) => audio.setSinkId(id)));
}

export const settings = $('settings');
