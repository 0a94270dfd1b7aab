# What is in a tree, entry by entry, as one line of JSON each, sorted: for comparing what two programs made of one image.
# Files that are one file by hard links are told by the first of their names.

import hashlib, json, os, stat, sys

root, first = os.fsencode(sys.argv[1]), {}

def entry(path):
    info = os.lstat(path)
    name = os.path.relpath(path, root)
    line = {
        'path': os.fsdecode(name), 'mode': oct(info.st_mode), 'owner': [info.st_uid, info.st_gid],
        'xattrs': {key: os.getxattr(path, key, follow_symlinks=False).hex()
                   for key in sorted(os.listxattr(path, follow_symlinks=False))
                   if not key.startswith(('trusted.overlay.', 'user.overlay.', 'user.rootlesscontainers', 'security.selinux'))},
    }
    # The root's own time is the archive's only where the archive has it.
    if name != b'.':
        line['mtime'] = int(info.st_mtime)
    if stat.S_ISREG(info.st_mode):
        with open(path, 'rb') as file:
            line['sha256'] = hashlib.sha256(file.read()).hexdigest()
        if info.st_nlink > 1:
            line['link'] = first.setdefault(info.st_ino, os.fsdecode(name))
    elif stat.S_ISLNK(info.st_mode):
        line['target'] = os.fsdecode(os.readlink(path))
    elif stat.S_ISCHR(info.st_mode) or stat.S_ISBLK(info.st_mode):
        line['device'] = [os.major(info.st_rdev), os.minor(info.st_rdev)]
    return line

lines = [entry(root)]
for parent, directories, files in os.walk(root):
    directories.sort()
    for name in sorted(directories + files):
        lines.append(entry(os.path.join(parent, name)))
lines.sort(key=lambda line: line['path'])
for line in lines:
    print(json.dumps(line, sort_keys=True))
