import { put } from './row.js';

const find = (id) => document.getElementById(id);

/** Asks before something that others would feel. Resolves to whether it is meant; the focus goes back to where it was. */
export function confirmed({ title, text, act }) {
  const dialog = find('confirm');
  put(find('confirm-title'), title);
  put(find('confirm-text'), text);
  put(find('confirm-yes'), act);
  dialog.returnValue = '';
  dialog.showModal();
  // A key that is held down must not confirm what it asked for.
  find('confirm-no').focus();
  return new Promise((resolve) => {
    dialog.addEventListener('close', () => resolve(dialog.returnValue === 'yes'), { once: true });
  });
}

/** A click beside a sheet closes it. */
export function dismissable(dialog) {
  dialog.addEventListener('click', (event) => {
    if (event.target !== dialog) return;
    const { left, right, top, bottom } = dialog.getBoundingClientRect();
    const within = event.clientX >= left && event.clientX <= right && event.clientY >= top && event.clientY <= bottom;
    if (!within) dialog.close();
  });
}
