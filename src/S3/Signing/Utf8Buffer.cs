using System.Buffers;
using System.Text;

namespace ObjectStore.S3.Signing;

/// <summary>An append-only byte buffer that begins on the caller's stack and moves to the array pool when it outgrows it.</summary>
internal ref struct Utf8Buffer(Span<byte> initial)
{
    private Span<byte> _bytes = initial;
    private byte[]? _rented;
    private int _length;

    public readonly ReadOnlySpan<byte> Written => _bytes[.._length];

    public readonly int Length => _length;

    public void Dispose()
    {
        if (_rented is not null) ArrayPool<byte>.Shared.Return(_rented);
        this = default;
    }

    public void Append(byte value)
    {
        if (_length == _bytes.Length) Grow(1);
        _bytes[_length++] = value;
    }

    public void Append(scoped ReadOnlySpan<byte> bytes)
    {
        bytes.CopyTo(Reserve(bytes.Length));
        _length += bytes.Length;
    }

    public void Append(scoped ReadOnlySpan<char> text)
    {
        Span<byte> space = Reserve(text.Length * 3);
        _length += Encoding.UTF8.GetBytes(text, space);
    }

    /// <summary>Appends lower-case hex.</summary>
    public void AppendHex(scoped ReadOnlySpan<byte> bytes)
    {
        Convert.TryToHexStringLower(bytes, Reserve(bytes.Length * 2), out int written);
        _length += written;
    }

    /// <summary>Room for at least <paramref name="count"/> bytes, to be followed by <see cref="Advance"/>.</summary>
    public Span<byte> Reserve(int count)
    {
        if (_bytes.Length - _length < count) Grow(count);
        return _bytes[_length..];
    }

    public void Advance(int count) => _length += count;

    public void Clear() => _length = 0;

    private void Grow(int count)
    {
        byte[] larger = ArrayPool<byte>.Shared.Rent(Math.Max(_bytes.Length * 2, _length + count));
        _bytes[.._length].CopyTo(larger);
        if (_rented is not null) ArrayPool<byte>.Shared.Return(_rented);
        _bytes = _rented = larger;
    }
}
