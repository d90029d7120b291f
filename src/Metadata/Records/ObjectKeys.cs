using System.Text;

namespace ObjectStore.Metadata.Records;

/// <summary>Object keys and prefixes as bytes. Keys are compared as bytes everywhere: UTF-16 order is another one as soon as a surrogate pair is about.</summary>
internal static class ObjectKeys
{
    /// <summary>S3's limit.</summary>
    internal const int MaxBytes = 1024;

    /// <summary>A bound above every key: UTF-8 has no byte 0xFF.</summary>
    internal static readonly byte[] BeyondAll = [0xFF];

    private static readonly UTF8Encoding StrictUtf8 = new(encoderShouldEmitUTF8Identifier: false, throwOnInvalidBytes: true);

    /// <summary>A key's bytes. A lone surrogate has none: it would share its row with another key's.</summary>
    internal static byte[] ToUtf8(string key) => StrictUtf8.GetBytes(key);

    /// <summary>A key's bytes, checked as one that is to be written.</summary>
    internal static byte[] ToUtf8Checked(string key)
    {
        byte[] bytes = StrictUtf8.GetBytes(key);
        return bytes.Length is > 0 and <= MaxBytes
            ? bytes
            : throw new ArgumentException($"An object key has 1 to {MaxBytes} bytes of UTF-8; this one has {bytes.Length}.", nameof(key));
    }

    /// <summary>The least key above every key that starts with the prefix.</summary>
    internal static byte[] PrefixSuccessor(ReadOnlySpan<byte> prefix)
    {
        int last = prefix.LastIndexOfAnyExcept((byte)0xFF);
        if (last < 0)
        {
            return BeyondAll;
        }

        byte[] successor = prefix[..(last + 1)].ToArray();
        successor[last]++;
        return successor;
    }

    /// <summary>The least key above this one.</summary>
    internal static byte[] Successor(ReadOnlySpan<byte> key)
    {
        byte[] successor = new byte[key.Length + 1];
        key.CopyTo(successor);
        return successor;
    }

    internal static byte[] Max(byte[] left, byte[] right) => left.AsSpan().SequenceCompareTo(right) >= 0 ? left : right;

    internal static byte[] Min(byte[] left, byte[] right) => left.AsSpan().SequenceCompareTo(right) <= 0 ? left : right;
}
