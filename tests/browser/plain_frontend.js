// A minimal frontend of the plain protocol, as programs other than the built-in page use it.
async function talk(server, room, token) {
  const headers = { Authorization: `Bearer ${token}` };
  const me = await (await fetch(`${server}/api/auth/me`, { headers })).json();
  const joined = await (await fetch(`${server}/api/rooms/${room}/join`, { method: 'POST', headers })).json();
  const configuration = { iceServers: joined.ice_servers, iceTransportPolicy: joined.ice_transport_policy };
  const microphone = await navigator.mediaDevices.getUserMedia({ audio: true });
  const peers = new Map(); // user id → RTCPeerConnection

  const socket = new WebSocket(server.replace('http', 'ws') + joined.websocket_url, ['bearer', token]);
  const send = (type, to, data) => socket.send(JSON.stringify({ type, from: me.id, roomId: room, to, data }));

  function connect(id) {
    const peer = new RTCPeerConnection(configuration);
    peers.set(id, peer);
    microphone.getTracks().forEach((track) => peer.addTrack(track, microphone));
    peer.onicecandidate = ({ candidate }) => candidate && send('ice-candidate', id, candidate);
    peer.ontrack = ({ streams: [voice] }) => Object.assign(new Audio(), { srcObject: voice }).play();
    return peer;
  }

  socket.onmessage = async ({ data: text }) => {
    const { type, from, data } = JSON.parse(text);
    let peer = peers.get(from);
    if (type === 'user-joined' && !peer) {
      peer = connect(from);
      await peer.setLocalDescription();
      send('offer', from, peer.localDescription);
    } else if (type === 'offer') {
      peer ??= connect(from);
      await peer.setRemoteDescription(data);
      await peer.setLocalDescription();
      send('answer', from, peer.localDescription);
    } else if (type === 'answer') {
      await peer?.setRemoteDescription(data);
    } else if (type === 'ice-candidate') {
      await peer?.addIceCandidate(data);
    } else if (type === 'user-left') {
      peer?.close();
      peers.delete(from);
    }
  };
}
