/** The keyboard map. Single keys can be switched off (WCAG 2.1.4), and never fire while someone types. */
import { player } from './player/player.svelte';

const OFF = 'antiphon.keys-off';
const SEEK_MS = 5_000;
const VOLUME_STEP = 0.05;

export const KEYS: [keys: string, does: string][] = [
  ['Space or k', 'Play or pause'],
  ['← and →', 'Back and forward 5 seconds'],
  ['↑ and ↓', 'Louder and quieter'],
  ['n and p', 'Next and previous track'],
  ['m', 'Mute'],
  ['/', 'Search'],
  ['?', 'Show these keys'],
];

class Keyboard {
  on = $state(read());
  helpOpen = $state(false);

  setOn(on: boolean): void {
    this.on = on;
    try {
      if (on) localStorage.removeItem(OFF);
      else localStorage.setItem(OFF, '1');
    } catch {
      // storage is switched off: the choice lives as long as the page
    }
  }

  handle = (event: KeyboardEvent): void => {
    if (!this.on || event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || this.helpOpen) return;
    if (!this.#belongsToThePage(event)) return;
    const act = this.#action(event.key);
    if (!act) return;
    event.preventDefault();
    act();
  };

  #action(key: string): (() => void) | undefined {
    const actions: Record<string, () => void> = {
      ' ': () => player.toggle(),
      k: () => player.toggle(),
      ArrowLeft: () => player.seekBy(-SEEK_MS),
      ArrowRight: () => player.seekBy(SEEK_MS),
      ArrowUp: () => player.setVolume(player.volume + VOLUME_STEP),
      ArrowDown: () => player.setVolume(player.volume - VOLUME_STEP),
      n: () => player.next(),
      p: () => player.previous(),
      m: () => player.toggleMute(),
      '/': () => document.querySelector<HTMLInputElement>('input[type=search]')?.focus(),
      '?': () => (this.helpOpen = true),
    };
    return actions[key.length === 1 ? key.toLowerCase() : key];
  }

  /** Fields, sliders and buttons keep their own keys; arrows scroll only where nothing plays. */
  #belongsToThePage({ target, key }: KeyboardEvent): boolean {
    if (!(target instanceof HTMLElement)) return true;
    if (target.isContentEditable || target.matches('input, textarea, select')) return false;
    if (key === ' ' && target.matches('button, a, summary, [role=button]')) return false;
    return !key.startsWith('Arrow') || player.current !== null;
  }
}

function read(): boolean {
  try {
    return localStorage.getItem(OFF) === null;
  } catch {
    return true;
  }
}

export const keyboard = new Keyboard();
