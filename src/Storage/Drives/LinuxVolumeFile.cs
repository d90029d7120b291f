using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;
using ObjectStore.Storage.Buffers;

namespace ObjectStore.Storage.Drives;

/// <summary>
/// A volume file on Linux: one descriptor for reads and small writes through the page cache, one with O_DIRECT for large writes and for reads that are to leave no trace there. The
/// kernel drops cached pages under a direct write and writes dirty ones before a direct read, and the writer never rewrites a page, so that the two agree.
/// </summary>
internal sealed unsafe class LinuxVolumeFile : IVolumeFile
{
    private const int MaxVectors = 1024;
    private static bool _noWaitRefused;

    private readonly string _path;
    private readonly SafeFileHandle _cached;
    private readonly SafeFileHandle? _direct;
    private long _lengthBytes;
    private volatile bool _directReadsRefused;

    private LinuxVolumeFile(string path, SafeFileHandle cached, SafeFileHandle? direct, long lengthBytes)
    {
        _path = path;
        _cached = cached;
        _direct = direct;
        _lengthBytes = lengthBytes;
    }

    public long LengthBytes => Volatile.Read(ref _lengthBytes);

    public bool DirectIo => _direct is not null;

    public static LinuxVolumeFile Create(string path, long sizeBytes, bool directIo)
    {
        SafeFileHandle cached = Posix.Open(path, Posix.OpenReadWrite | Posix.OpenCreate | Posix.OpenExclusive);
        try
        {
            while (Posix.Allocate(cached, 0, 0, sizeBytes) != 0)
            {
                int error = Marshal.GetLastPInvokeError();
                if (error == Posix.ErrorInterrupted)
                    continue;
                if (error != Posix.ErrorNotSupported)
                    throw Posix.Error("fallocate", path, error);
                if (Posix.Truncate(cached, sizeBytes) != 0)
                    throw Posix.LastError("ftruncate", path);
                break;
            }

            if (Posix.Sync(cached) != 0)
                throw Posix.LastError("fsync", path);
            return new LinuxVolumeFile(path, cached, directIo ? OpenDirect(path) : null, sizeBytes);
        }
        catch
        {
            cached.Dispose();
            File.Delete(path);
            throw;
        }
    }

    public static LinuxVolumeFile Open(string path, bool directIo)
    {
        SafeFileHandle cached = Posix.Open(path, Posix.OpenReadWrite);
        return new LinuxVolumeFile(path, cached, directIo ? OpenDirect(path) : null, RandomAccess.GetLength(cached));
    }

    public void Write(long offset, ReadOnlySpan<VolumeSegment> segments, bool throughCache)
    {
        SafeFileHandle file = throughCache || _direct is null ? _cached : _direct;
        Span<Posix.IoVector> vectors = stackalloc Posix.IoVector[Math.Min(segments.Length, 64)];
        int next = 0;
        int skip = 0; // bytes of segments[next] already written
        while (next < segments.Length)
        {
            int count = 0;
            for (int i = next; i < segments.Length && count < Math.Min(vectors.Length, MaxVectors); i++, count++)
            {
                int taken = i == next ? skip : 0;
                vectors[count] = new Posix.IoVector { Address = (byte*)segments[i].Address + taken, LengthBytes = (nuint)(segments[i].LengthBytes - taken) };
            }

            nint written;
            fixed (Posix.IoVector* pointer = vectors)
                written = Posix.WriteVector(file, pointer, count, offset);
            if (written < 0)
            {
                if (Marshal.GetLastPInvokeError() == Posix.ErrorInterrupted)
                    continue;
                throw Posix.LastError("pwritev", _path);
            }

            if (written == 0)
                throw new IOException($"pwritev of '{_path}' wrote nothing.");
            offset += written;
            written += skip;
            skip = 0;
            while (next < segments.Length && written >= segments[next].LengthBytes)
                written -= segments[next++].LengthBytes;
            skip = (int)written;
        }
    }

    public void Sync()
    {
        // Never retried: after a failure the kernel may have dropped the dirty pages, and a second call would report success.
        if (Posix.SyncData(_cached) != 0)
            throw Posix.LastError("fdatasync", _path);
    }

    public void Truncate(long lengthBytes)
    {
        if (Posix.Truncate(_cached, lengthBytes) != 0)
            throw Posix.LastError("ftruncate", _path);
        Volatile.Write(ref _lengthBytes, lengthBytes);
    }

    public int Read(long offset, Span<byte> first, Span<byte> second, ReadCaching caching)
    {
        bool isOnlyFromMemory = caching is ReadCaching.Only or ReadCaching.IfPresent;
        if (isOnlyFromMemory && _noWaitRefused)
            return -1;
        int total = first.Length + second.Length;
        if (caching == ReadCaching.IfPresent && !Posix.IsCached(_cached, offset, total))
            return -1;
        fixed (byte* firstPointer = first, secondPointer = second)
        {
            int done = 0;
            if (caching is ReadCaching.Bypass or ReadCaching.Medium && _direct is { } direct && !_directReadsRefused
                && IsAligned(offset) && IsAligned(first.Length) && IsAligned((nint)firstPointer) && IsAligned((nint)secondPointer)
                && (caching == ReadCaching.Medium || !Posix.IsCached(_cached, offset, total)))
            {
                done = Read(direct, offset, firstPointer, first.Length, secondPointer, 0, total - (total % AlignedBuffer.Alignment), 0);
                if (done < 0)
                {
                    _directReadsRefused = true;
                    done = 0;
                }
            }

            done = Read(_cached, offset, firstPointer, first.Length, secondPointer, done, total, isOnlyFromMemory ? Posix.ReadNoWait : 0);
            if (done < 0 && Marshal.GetLastPInvokeError() is Posix.ErrorNotSupported or Posix.ErrorInvalid)
                _noWaitRefused = true;
            return done;
        }
    }

    public void BeginScan(long offset)
    {
        _ = Posix.Advise(_cached, offset, 0, Posix.AdviseDontNeed);
        _ = Posix.Advise(_cached, 0, 0, Posix.AdviseRandom);
    }

    public void EndScan() => _ = Posix.Advise(_cached, 0, 0, Posix.AdviseNormal);

    public long NextData(long offset)
    {
        long length = LengthBytes;
        if (offset >= length)
            return length;
        long data = Posix.Seek(_cached, offset, Posix.SeekData);
        if (data >= 0)
            return data;
        return Marshal.GetLastPInvokeError() == Posix.ErrorNoDeviceAddress ? length : offset;
    }

    public void Dispose()
    {
        _cached.Dispose();
        _direct?.Dispose();
    }

    /// <summary>
    /// Reads the bytes from <paramref name="done"/> up to <paramref name="until"/> of the two buffers taken as one. Returns where it got to, short only at the end of the file; −1 where the kernel will not do it this
    /// way: not without waiting, or not past the cache.
    /// </summary>
    private int Read(SafeFileHandle file, long offset, byte* first, int firstBytes, byte* second, int done, int until, int flags)
    {
        Posix.IoVector* vectors = stackalloc Posix.IoVector[2];
        while (done < until)
        {
            int count = 0;
            if (done < firstBytes)
                vectors[count++] = new Posix.IoVector { Address = first + done, LengthBytes = (nuint)(Math.Min(firstBytes, until) - done) };
            int secondDone = Math.Max(0, done - firstBytes);
            if (secondDone < until - firstBytes)
                vectors[count++] = new Posix.IoVector { Address = second + secondDone, LengthBytes = (nuint)(until - firstBytes - secondDone) };
            nint read = Posix.ReadVector(file, vectors, count, offset + done, flags);
            if (read > 0)
            {
                done += (int)read;
                continue;
            }

            if (read == 0)
                break;
            int error = Marshal.GetLastPInvokeError();
            if (error == Posix.ErrorInterrupted)
                continue;
            if (flags == Posix.ReadNoWait)
                return -1;
            if (file == _direct && error == Posix.ErrorInvalid)
                return done == 0 ? -1 : done; // behind the last whole page of a file that has been cut off
            throw Posix.Error("preadv", _path, error);
        }

        return done;
    }

    private static bool IsAligned(long value) => value % AlignedBuffer.Alignment == 0;

    private static SafeFileHandle? OpenDirect(string path) => Posix.TryOpen(path, Posix.OpenReadWrite | Posix.OpenDirect, out _);
}
