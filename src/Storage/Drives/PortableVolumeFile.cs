using Microsoft.Win32.SafeHandles;

namespace ObjectStore.Storage.Drives;

/// <summary>A volume file by .NET's own means, where there is no Linux: correct and durable, not fast.</summary>
internal sealed unsafe class PortableVolumeFile(SafeFileHandle file, long lengthBytes) : IVolumeFile
{
    private long _lengthBytes = lengthBytes;

    public long LengthBytes => Volatile.Read(ref _lengthBytes);

    public bool DirectIo => false;

    public static PortableVolumeFile Create(string path, long sizeBytes)
    {
        SafeFileHandle file = File.OpenHandle(path, FileMode.CreateNew, FileAccess.ReadWrite, FileShare.ReadWrite | FileShare.Delete);
        try
        {
            RandomAccess.SetLength(file, sizeBytes);
            RandomAccess.FlushToDisk(file);
        }
        catch
        {
            file.Dispose();
            File.Delete(path);
            throw;
        }

        return new PortableVolumeFile(file, sizeBytes);
    }

    public static PortableVolumeFile Open(string path)
    {
        SafeFileHandle file = File.OpenHandle(path, FileMode.Open, FileAccess.ReadWrite, FileShare.ReadWrite | FileShare.Delete);
        return new PortableVolumeFile(file, RandomAccess.GetLength(file));
    }

    public void Write(long offset, ReadOnlySpan<VolumeSegment> segments, bool throughCache)
    {
        foreach (VolumeSegment segment in segments)
        {
            RandomAccess.Write(file, new ReadOnlySpan<byte>((void*)segment.Address, segment.LengthBytes), offset);
            offset += segment.LengthBytes;
        }
    }

    public void Sync() => RandomAccess.FlushToDisk(file);

    public void Truncate(long lengthBytes)
    {
        RandomAccess.SetLength(file, lengthBytes);
        Volatile.Write(ref _lengthBytes, lengthBytes);
    }

    public int Read(long offset, Span<byte> first, Span<byte> second, ReadCaching caching)
        => caching == ReadCaching.IfPresent ? -1 : Read(file, offset, first, second); // what is there cannot be told

    public void EndScan()
    {
    }

    public void BeginScan(long offset)
    {
    }

    public long NextData(long offset) => Math.Min(offset, LengthBytes);

    public void Dispose() => file.Dispose();

    /// <summary>As <see cref="IVolumeFile.Read"/>, through the page cache whatever is in it.</summary>
    internal static int Read(SafeFileHandle file, long offset, Span<byte> first, Span<byte> second)
    {
        int done = ReadFully(file, offset, first);
        return done < first.Length ? done : done + ReadFully(file, offset + done, second);
    }

    private static int ReadFully(SafeFileHandle file, long offset, Span<byte> destination)
    {
        int done = 0;
        while (done < destination.Length)
        {
            int read = RandomAccess.Read(file, destination[done..], offset + done);
            if (read == 0)
                break;
            done += read;
        }

        return done;
    }
}
