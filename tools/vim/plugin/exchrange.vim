" SPDX-License-Identifier: GPL-2.0
"
" :w saves through exchrange: atomically, and links, ACLs, attributes and watches of
" the file stay.  Where that does not work, vim's own way, with one warning.

if exists('g:loaded_exchrange') || &compatible || v:version < 800
  finish
endif
let g:loaded_exchrange = 1

let s:warned = 0

function! s:Command(...) abort
  return join(map([get(g:, 'exchrange_command', 'exchrange')] + copy(a:000),
        \ 'shellescape(v:val)')) . ' 2>&1'
endfunction

" A file of this machine: no URL, no member of an archive.
function! s:IsFile(name) abort
  return a:name !=# '' && a:name !~# '^\a[a-z]\+:'
endfunction

" From the root, and no home of a user whose name it has.
function! s:Full(name) abort
  return fnamemodify(a:name =~# '^\~[^/]' ? './' . a:name : a:name, ':p')
endfunction

" Of what a file holds, if it is not too large to be read twice; '' is none.
function! s:Digest(name) abort
  let l:size = getfsize(a:name)
  return l:size < 0 || l:size > 4194304 || !exists('*sha256') ? ''
        \ : sha256(string(readfile(a:name, 'b')))
endfunction

" Before vim reads the file, so that a change since is noticed.
function! s:Sample(name) abort
  unlet! b:exchrange_token b:exchrange_digest
  if !get(g:, 'exchrange', 1) || !s:IsFile(a:name) || !filereadable(a:name)
    return
  endif
  let l:said = system(s:Command('start-commit', '--', a:name))
  if v:shell_error == 0
    let b:exchrange_token = trim(l:said)
    let b:exchrange_digest = s:Digest(a:name)
  endif
endfunction

" The file is another, but holds what it held: its mode was changed, or it was linked.
function! s:SampleSame(name) abort
  let l:digest = get(b:, 'exchrange_digest', '')
  call s:Sample(a:name)
  if l:digest !=# '' && get(b:, 'exchrange_digest', '') ==# l:digest
    return 1
  endif
  let b:exchrange_digest = l:digest
  return 0
endfunction

function! s:Attach(name) abort
  if &buftype ==# '' && s:IsFile(a:name)
    augroup exchrange_buffer
      autocmd! BufWriteCmd <buffer>
      autocmd BufWriteCmd <buffer> nested call s:Write(s:Full(expand('<afile>')))
    augroup END
  endif
endfunction

function! s:OwnWay(name) abort
  execute 'noautocmd write' . (v:cmdbang ? '! ' : ' ') . v:cmdarg . ' '
        \ . fnameescape(a:name)
  if a:name ==# s:Full(expand('%'))
    call s:Sample(a:name)
  endif
endfunction

function! s:Error(message) abort
  echohl ErrorMsg
  echomsg a:message
  echohl None
endfunction

" The time of the file is ours: vim need not ask whether to load it again.
function! s:AcceptTime() abort
  let l:autoread = &l:autoread
  setlocal noautoread
  augroup exchrange_time
    autocmd!
    autocmd FileChangedShell <buffer> let v:fcs_choice = ''
  augroup END
  execute bufnr('%') . 'checktime'
  augroup exchrange_time
    autocmd!
  augroup END
  let &l:autoread = l:autoread
endfunction

function! s:Arguments(name, temporary) abort
  let l:arguments = ['write', '--from', a:temporary]
  if &fsync
    let l:arguments += ['--dsync']
  endif
  if exists('b:exchrange_token') && !v:cmdbang
    let l:arguments += ['--if-unchanged-since', b:exchrange_token]
  endif
  return l:arguments + ['--', a:name]
endfunction

" What exchrange says; '' where the file was written.  Vim writes a file of its own
" first, with all that it knows of encodings and ends of lines.
function! s:Exchange(name) abort
  let l:temporary = tempname()
  execute 'silent noautocmd keepalt write! ' . v:cmdarg . ' '
        \ . fnameescape(l:temporary)
  let l:said = system(call('s:Command', s:Arguments(a:name, l:temporary)))
  let l:failed = v:shell_error
  call delete(l:temporary)
  return l:failed ? trim(l:said) : ''
endfunction

function! s:Written(name) abort
  call s:AcceptTime()
  setlocal nomodified
  if &undofile
    execute 'silent! wundo! ' . fnameescape(undofile(a:name))
  endif
  call s:Sample(a:name)
  echomsg '"' . fnamemodify(a:name, ':~:.') . '" ' . line('$') . 'L written by exchrange'
endfunction

" Once a session.
function! s:Warn(said) abort
  if !s:warned
    let s:warned = 1
    call s:Error(a:said)
    call s:Error('exchrange: where it does not work, files are saved in vim''s own way')
  endif
endfunction

function! s:Save(name) abort
  if !get(g:, 'exchrange', 1) || a:name !=# s:Full(expand('%'))
    call s:OwnWay(a:name)
    return
  endif
  " Nobody knows whether it has changed since it was read: vim does, and asks.
  if !exists('b:exchrange_token') && !v:cmdbang && filereadable(a:name)
    if !exists('b:exchrange_new')
      call s:Warn(trim(system(s:Command('start-commit', '--', a:name))))
    endif
    call s:OwnWay(a:name)
    return
  endif
  let l:token = get(b:, 'exchrange_token', '')
  let l:said = s:Exchange(a:name)
  if l:said =~# 'has changed meanwhile'
    if s:SampleSame(a:name)
      let l:said = s:Exchange(a:name)
    elseif l:token !=# ''
      let b:exchrange_token = l:token
    endif
  endif
  if l:said ==# ''
    unlet! b:exchrange_new
    call s:Written(a:name)
  elseif l:said =~# 'has changed meanwhile'
    call s:Error('exchrange: the file has changed since it was read (add ! to override)')
  elseif l:said =~# 'no space left\|quota\|I/O error\|size limit'
    call s:Error(l:said)
  else
    call s:Warn(l:said)
    call s:OwnWay(a:name)
  endif
endfunction

function! s:Write(name) abort
  execute 'doautocmd <nomodeline> BufWritePre ' . fnameescape(a:name)
  call s:Save(a:name)
  if !&modified || a:name !=# s:Full(expand('%'))
    execute 'doautocmd <nomodeline> BufWritePost ' . fnameescape(a:name)
  endif
endfunction

augroup exchrange
  autocmd!
  autocmd BufReadPre * call s:Sample(s:Full(expand('<afile>')))
  autocmd BufReadPost * call s:Attach(s:Full(expand('<afile>')))
  autocmd BufNewFile * let b:exchrange_new = 1 | call s:Attach(s:Full(expand('<afile>')))
augroup END
