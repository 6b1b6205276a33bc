/** The view is the part of the address after '#', so that any static server can serve the page and music plays on between views. */

export type View = 'listen' | 'history' | 'studio' | 'statements';
const VIEWS: View[] = ['listen', 'history', 'studio', 'statements'];

class Router {
  view = $state<View>('listen');
  /** What follows the view's name: `#/statements/ID`. */
  rest = $state('');

  constructor() {
    const read = () => {
      const [name = '', ...rest] = location.hash.replace(/^#\/?/, '').split('/');
      this.view = VIEWS.find((view) => view === name) ?? 'listen';
      this.rest = rest.map(decodeURIComponent).join('/');
    };
    read();
    addEventListener('hashchange', read);
  }
}

export const router = new Router();
