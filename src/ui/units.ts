// How people read sizes and spans of time: the same words as Docker's (docker/go-units).

/** `72.8MB`: decimal units, three significant digits. */
export function humanSize(bytes: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB', 'PB', 'EB'];
  let size = bytes;
  let unit = 0;
  while (size >= 1000 && unit < units.length - 1) {
    size /= 1000;
    unit++;
  }
  return `${Number(size.toPrecision(3))}${units[unit]}`;
}

/** `1.953GiB`: binary units, four significant digits; memory is counted so. */
export function binarySize(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB', 'EiB'];
  let size = bytes;
  let unit = 0;
  while (size >= 1024 && unit < units.length - 1) {
    size /= 1024;
    unit++;
  }
  return `${Number(size.toPrecision(4))}${units[unit]}`;
}

/** `About a minute`, `3 weeks`. */
export function humanDuration(milliseconds: number): string {
  const seconds = Math.floor(Math.max(0, milliseconds) / 1000);
  if (seconds < 1) return 'Less than a second';
  if (seconds === 1) return '1 second';
  if (seconds < 60) return `${seconds} seconds`;
  const minutes = Math.floor(seconds / 60);
  if (minutes === 1) return 'About a minute';
  if (minutes < 60) return `${minutes} minutes`;
  const hours = Math.floor(seconds / 3600 + 0.5);
  if (hours === 1) return 'About an hour';
  if (hours < 48) return `${hours} hours`;
  if (hours < 24 * 7 * 2) return `${Math.floor(hours / 24)} days`;
  if (hours < 24 * 30 * 2) return `${Math.floor(hours / 24 / 7)} weeks`;
  if (hours < 24 * 365 * 2) return `${Math.floor(hours / 24 / 30)} months`;
  return `${Math.floor(hours / 24 / 365)} years`;
}

export function ago(time: string, now = Date.now()): string {
  const then = Date.parse(time);
  return Number.isNaN(then) ? 'N/A' : `${humanDuration(now - then)} ago`;
}

/** Docker's `2024-05-01 12:00:00 +0000 UTC`. */
export function longTime(time: string): string {
  const date = new Date(time);
  if (Number.isNaN(date.getTime())) return 'N/A';
  const minutes = -date.getTimezoneOffset();
  const pad = (number: number) => String(number).padStart(2, '0');
  const local = new Date(date.getTime() + minutes * 60e3).toISOString();
  const offset = `${minutes < 0 ? '-' : '+'}${pad(Math.floor(Math.abs(minutes) / 60))}${pad(Math.abs(minutes) % 60)}`;
  const zone = /\(?([A-Z]{2,5})\)?$/.exec(
    new Intl.DateTimeFormat('en-US', { timeZoneName: 'short' }).format(date),
  )?.[1];
  return `${local.slice(0, 10)} ${local.slice(11, 19)} ${offset} ${zone ?? offset}`;
}

/** At most `width` characters, the last one an ellipsis where some were cut. */
export function ellipsis(text: string, width: number): string {
  const characters = [...text];
  return characters.length <= width ? text : `${characters.slice(0, width - 1).join('')}…`;
}
